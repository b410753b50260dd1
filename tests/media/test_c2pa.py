#!/usr/bin/env python3
"""Signed videos: with a certificate chain made here, read back by the C2PA library itself. Skipped (77)
where libc2pa_c.so is absent: tools/setup fetches it, or T2V_C2PA_LIB names it.
test_c2pa.py --bin PROGRAM [--deps FOLDER]"""

import argparse
import ctypes
import glob
import json
import os
import subprocess
import sys
import tempfile

CREATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MAKE = ["--prompt", "a red circle", "--size", "64x64", "--frames", "5", "--steps", "1", "--seed", "7", "--progress",
        "none", "--quiet"]
failures = []


def check(name, condition, detail=""):
    print(("ok   " if condition else "FAIL ") + name, flush=True)
    if not condition:
        failures.append(name)
        print(f"     {str(detail)[:3000]}")


def find_library(deps):
    named = os.environ.get("T2V_C2PA_LIB", "")
    found = [named] if named else sorted(glob.glob(os.path.join(deps, "lib/python3*/site-packages/c2pa/libs/libc2pa_c.so")))
    return os.path.abspath(found[0]) if found and os.path.exists(found[0]) else ""


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def make_chain(folder, name, key_arguments):
    """NAME.key and NAME.pem: a leaf fit for C2PA, then the root that signed it."""
    with open(os.path.join(folder, "leaf.ext"), "w", encoding="ascii") as file:
        file.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                   "extendedKeyUsage=critical,emailProtection\nsubjectKeyIdentifier=hash\n"
                   "authorityKeyIdentifier=keyid,issuer\n")
    openssl(folder, "genpkey", *key_arguments, "-out", "root.key")
    openssl(folder, "req", "-x509", "-new", "-key", "root.key", "-days", "30", "-subj", "/O=t2v test/CN=root", "-addext",
            "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign", "-out", "root.pem")
    openssl(folder, "genpkey", *key_arguments, "-out", f"{name}.key")
    openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", "/O=t2v test/CN=signer", "-out", "leaf.csr")
    openssl(folder, "x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
            "-days", "30", "-extfile", "leaf.ext", "-out", "leaf.pem")
    with open(os.path.join(folder, f"{name}.pem"), "w", encoding="ascii") as file:
        for part in ("leaf.pem", "root.pem"):
            with open(os.path.join(folder, part), encoding="ascii") as source:
                file.write(source.read())


def read_manifest(library, path):
    """What the library tells of a file: (active manifest, codes of failed checks)."""
    c2pa = ctypes.CDLL(library)
    for name in ("c2pa_reader_from_file", "c2pa_reader_json", "c2pa_error"):
        getattr(c2pa, name).restype = ctypes.c_void_p
    c2pa.c2pa_reader_json.argtypes = [ctypes.c_void_p]
    reader = c2pa.c2pa_reader_from_file(os.fsencode(path))
    if not reader:
        return None, [ctypes.string_at(c2pa.c2pa_error()).decode()]
    store = json.loads(ctypes.string_at(c2pa.c2pa_reader_json(reader)))
    failed = [status["code"] for status in store.get("validation_status", [])]
    return store["manifests"][store["active_manifest"]], failed


def run(program, folder, library, *arguments):
    return subprocess.run([program, *arguments], cwd=folder, text=True, capture_output=True, timeout=240, check=False,
                          env={**os.environ, "T2V_C2PA_LIB": library})


def check_signed(library, path, name):
    manifest, failed = read_manifest(library, path)
    check(f"{name}: the signature holds", manifest and set(failed) <= {"signingCredential.untrusted"}, failed)
    manifest = manifest or {}
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    check(f"{name}: made by t2v", generator.get("name") == "t2v" and generator.get("version"), manifest)
    assertions = {entry["label"]: entry["data"] for entry in manifest.get("assertions", [])}
    actions = next((data["actions"] for label, data in assertions.items() if label.startswith("c2pa.actions")), [{}])
    check(f"{name}: created by a trained model",
          actions[0].get("action") == "c2pa.created" and actions[0].get("digitalSourceType") == CREATED, assertions)
    return assertions


def sign_all(program, folder, library):
    signing = ["--c2pa-cert", "es256.pem", "--c2pa-key", "es256.key"]
    done = run(program, folder, library, "generate", *MAKE, *signing, "--save-latents", "a.safetensors", "-o", "a.mp4")
    check("a signed MP4 is made", done.returncode == 0, done.stderr)
    told = check_signed(library, os.path.join(folder, "a.mp4"), "MP4").get("t2v.recipe", {})
    check("MP4: the recipe is an assertion", told.get("seed") == 7 and told.get("prompt") == "a red circle", told)
    read = run(program, folder, library, "inspect", "a.mp4", "--command")
    check("MP4: inspect still reads it", "--seed 7" in read.stdout, read.stdout + read.stderr)
    with open(os.path.join(folder, "a.mp4"), "rb") as file:
        video = file.read()
    check("MP4: the index stands before the pictures", 0 < video.find(b"moov") < video.find(b"mdat"))
    with open(os.path.join(folder, "changed.mp4"), "wb") as file:
        at = video.find(b"mdat") + 40
        file.write(video[:at] + bytes([video[at] ^ 1]) + video[at + 1:])
    _, failed = read_manifest(library, os.path.join(folder, "changed.mp4"))
    check("MP4: one changed bit is noticed", any("mismatch" in code for code in failed), failed)
    for name, more in (("b.mov", []), ("b.webp", ["--watermark", "AI"]), ("b.gif", ["--no-metadata"])):
        done = run(program, folder, library, "decode", "a.safetensors", "--quiet", *signing, *more, "-o", name)
        check(f"{name}: decode signs", done.returncode == 0, done.stderr)
        told = check_signed(library, os.path.join(folder, name), name)
        check(f"{name}: the recipe only where it is wanted", ("t2v.recipe" in told) == (name != "b.gif"), told)
    done = run(program, folder, library, "decode", "a.safetensors", "--quiet", "--c2pa-cert", "ps256.pem", "--c2pa-key",
               "ps256.key", "-o", "rsa.mp4")
    check("an RSA key signs", done.returncode == 0, done.stderr)
    check_signed(library, os.path.join(folder, "rsa.mp4"), "RSA")


def refuse_all(program, folder, library):
    before = sorted(os.listdir(folder))
    es = ["--c2pa-cert", "es256.pem", "--c2pa-key", "es256.key"]
    for name, library_path, code, words, arguments in (
            ("no library", "/nowhere/libc2pa_c.so", 2, "pip install c2pa-python", [*es, "-o", "x.mp4"]),
            ("no key", library, 2, "needed together", ["--c2pa-cert", "es256.pem", "-o", "x.mp4"]),
            ("another key", library, 4, "certificate and key do not work",
             ["--c2pa-cert", "es256.pem", "--c2pa-key", "ps256.key", "-o", "x.mp4"]),
            ("no PEM", library, 4, "no PEM file", ["--c2pa-cert", "a.mp4", "--c2pa-key", "es256.key", "-o", "x.mp4"]),
            ("no file", library, 4, "No such file", ["--c2pa-cert", "none", "--c2pa-key", "es256.key", "-o", "x.mp4"]),
            ("a container without a place", library, 2, "try .mp4", [*es, "-o", "x.mkv"]),
            ("a folder of frames", library, 2, "try .mp4", [*es, "-o", "x.png"])):
        done = run(program, folder, library_path, "generate", *MAKE, *arguments)
        check(f"refused before work: {name}", done.returncode == code and words in done.stderr,
              f"{done.returncode} {done.stderr}")
    check("refusals leave nothing", sorted(os.listdir(folder)) == before)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--deps", default=".deps-test")
    given = parser.parse_args()
    library = find_library(given.deps)
    if not library:
        print("skipped: libc2pa_c.so is not here (tools/setup/setup.sh test fetches it, or set T2V_C2PA_LIB)")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        make_chain(folder, "es256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
        make_chain(folder, "ps256", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        sign_all(os.path.abspath(given.bin), folder, library)
        refuse_all(os.path.abspath(given.bin), folder, library)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
