#!/usr/bin/env python3
"""Models on an S3 server and on a web server, through a proxy that breaks answers: every run ends with
the same bits as from a local folder, or with exit 8 and one line within the deadline.

test_remote.py --bin build/t2v --store s3|http
Exit status 77: the S3 server (moto) is not installed; with T2V_REQUIRE_S3=1 or CI=true that is a failure.
"""

import argparse
import os
import pathlib
import random
import shutil
import sys
import tempfile

from fault_proxy import Fault, FaultProxy
from program import Checks, Program
from servers import REPOSITORY, S3Server, WebServer, find_moto

TIMEOUT = 1.0  # seconds for one attempt
WITHIN = 3 * TIMEOUT + 6  # all attempts, loading the program, and a machine that is busy


class Store:
    """A model on a server behind the proxy."""

    def __init__(self, name: str, model: pathlib.Path):
        self.s3 = None
        if name == "s3":
            self.s3 = S3Server(find_moto())
            self.s3.upload(model, "shapes")
            self.proxy = FaultProxy(self.s3.port)
            self.root = "s3://models"
        else:
            self.web = WebServer(model.parent)
            self.proxy = FaultProxy(self.web.port)
            self.root = f"http://127.0.0.1:{self.proxy.port}"
        self.model = f"{self.root}/shapes"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.port}",
            "T2V_REMOTE_TIMEOUT": str(TIMEOUT),
        }

    def stop(self) -> None:
        if self.s3:
            self.s3.stop()


def check_generate(checks: Checks, program: Program, store: Store, local: bytes) -> None:
    cache = str(program.scratch / "cache")
    for name in ("cold", "warm"):
        store.proxy.arm(None)
        ended, video = program.generate(store.model, "--cache-dir", cache, **store.environment)
        checks.expect(ended.code == 0 and video == local, f"generate, {name} cache: same bytes", ended)
    reads = store.proxy.requests
    store.proxy.arm(None)
    ended, video = program.generate(store.model, "--cache-dir", str(program.scratch / "other"), **store.environment)
    checks.expect(reads < store.proxy.requests, "a warm cache saves requests", ended)

    if store.s3:  # where the same wrong part twice in a row goes unseen
        store.proxy.random_kinds.remove("shifted")
    for seed in range(3):  # every third answer is broken in one way or another
        store.proxy.random.seed(seed)
        store.proxy.arm(Fault("any", method="GET|HEAD", chance=0.3, path="shapes/"))
        more = ["--cache-dir", str(program.scratch / f"seed{seed}")]
        ended, video = program.generate(store.model, *more, **store.environment)
        checks.expect(store.proxy.injected > 0, f"random faults {seed}: there were some", ended)
        same = ended.code == 0 and video == local
        checks.expect(same or (ended.code == 8 and not video), f"random faults {seed}: same bytes or exit 8", ended)
        store.proxy.arm(None)
        ended, video = program.generate(store.model, *more, **store.environment)
        checks.expect(ended.code == 0 and video == local, f"random faults {seed}: the cache is sound", ended)

    seen_before = 2 if store.s3 else 1  # requests that look at the file when it is opened
    store.proxy.arm(Fault("etag", method="GET|HEAD", path=r"transformer/.*\.safetensors", skip=seen_before))
    ended, video = program.generate(store.model, "--cache-dir", str(program.scratch / "etag"), **store.environment)
    checks.expect_failure("generate: a changed file", ended, 8, 20, "changed while it was read")
    checks.expect(not video, "generate: a changed file leaves no video", ended)


def check_faults(checks: Checks, program: Program, store: Store) -> None:
    """verify reads every byte and knows the right ones; the proxy breaks some answers or all."""
    for kind in FaultProxy.TRANSIENT:
        # Over S3 a wrong part is found by reading some of its bytes twice: the same mistake in both reads goes unseen.
        times = 1 if store.s3 and kind == "shifted" else 2
        store.proxy.arm(Fault(kind, times=times))
        ended = program.run("verify", store.model, **store.environment)
        checks.expect(ended.code == 0, f"{kind}, {times} times: same bits", ended)
        checks.expect(store.proxy.injected == times, f"{kind}: happened", ended)
        if kind not in ("status_503", "cut", "stall", "whole"):
            continue  # the others take the same way
        store.proxy.arm(Fault(kind, path=r"blob\.bin"))
        ended = program.run("verify", store.model, **store.environment)
        checks.expect_failure(f"{kind}, always", ended, 8, WITHIN, "notes/blob.bin")
    store.proxy.arm(Fault("denied"))
    ended = program.run("verify", store.model, **store.environment)
    checks.expect_failure("403", ended, 8, WITHIN, "denied")
    store.proxy.arm(Fault("etag", method="GET|HEAD", skip=12 if store.s3 else 5))
    ended = program.run("verify", store.model, **store.environment)
    checks.expect_failure("changed ETag", ended, 8, WITHIN, "changed while it was read")
    for kind in ("status_503", "stall"):
        store.proxy.arm(Fault(kind, method="HEAD|GET", path="."))
        ended = program.run("verify", store.model, **store.environment)
        checks.expect_failure(f"{kind} from the first request on", ended, 8, WITHIN)
    store.proxy.arm(None)


def check_wrong_bytes(checks: Checks, program: Program, store: Store) -> None:
    """A part under the name of another: two reads of the same bytes differ (s3 only)."""
    for skip in range(4):
        store.proxy.arm(Fault("lie", times=1, skip=skip))
        ended = program.run("verify", store.model, **store.environment)
        checks.expect(ended.code == 0 and store.proxy.injected == 1, f"a lie about the range, {skip}: read again", ended)
    store.proxy.arm(None)


def check_absent(checks: Checks, program: Program, store: Store) -> None:
    store.proxy.arm(None)
    for path in (f"{store.root}/nothing", f"{store.model}/vae/config.jsom"):
        ended, _ = program.generate(path, **store.environment)
        checks.expect_failure(f"absent: {path}", ended, 3, 20, path.rsplit("/", 1)[1])
    store.proxy.arm(Fault("denied", method="HEAD|GET", path="."))
    ended, _ = program.generate(store.model, **store.environment)
    checks.expect_failure("generate: 403", ended, 8, 20, "denied")
    store.proxy.arm(None)
    dead = {**store.environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    path = store.model if store.s3 else "http://127.0.0.1:9/shapes"
    ended, _ = program.generate(path, **dead)
    checks.expect_failure("nobody listens", ended, 8, 20, path)


def check_credentials(checks: Checks, program: Program, store: Store) -> None:
    """Without any, the store is asked anonymously; a profile file is as good as the environment."""
    none = {**store.environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    ended = program.run("verify", store.model, **none)
    checks.expect_failure("no credentials", ended, 8, 20, "AWS_ACCESS_KEY_ID")
    profile = program.scratch / "credentials"
    profile.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    ended = program.run("verify", store.model, **{**none, "AWS_SHARED_CREDENTIALS_FILE": str(profile)})
    checks.expect(ended.code == 0, "credentials from a profile file", ended)


def check_web_folder(checks: Checks, program: Program, store: Store, folder: pathlib.Path, local: bytes) -> None:
    """Without a manifest the names that models have are tried."""
    bare = folder.parent / "bare"
    shutil.copytree(folder, bare)
    (bare / "t2v-manifest.json").unlink()
    store.proxy.arm(None)
    ended, video = program.generate(f"{store.root}/bare", "--cache-dir", str(program.scratch / "bare-cache"), **store.environment)
    checks.expect(ended.code == 0 and video == local, "web folder without a manifest: same bytes", ended)
    ended = program.run("verify", f"{store.root}/bare", **store.environment)
    checks.expect_failure("web folder without a manifest: verify", ended, 2, 20, "--write-manifest")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--store", choices=("s3", "http"), required=True)
    parser.add_argument("--model", type=pathlib.Path, default=REPOSITORY / "models/shapes")
    arguments = parser.parse_args()
    if arguments.store == "s3" and (find_moto() is None or not (arguments.bin.parent / "libt2v_s3.so").exists()):
        print("SKIPPED: no moto in .deps-test or no libt2v_s3.so; `make setup-test` fetches both")
        return 1 if "T2V_REQUIRE_S3" in os.environ or os.environ.get("CI") == "true" else 77
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="t2v-remote-") as scratch:
        model = pathlib.Path(scratch) / "server/shapes"
        shutil.copytree(arguments.model, model, symlinks=False)
        (model / "notes").mkdir()  # a file of several blocks
        (model / "notes/blob.bin").write_bytes(random.Random(1).randbytes(20_000_000))
        program = Program(arguments.bin, pathlib.Path(scratch))
        ended = program.run("verify", str(model), "--write-manifest")
        checks.expect(ended.code == 0, "the manifest is written", ended)
        ended, local = program.generate(str(model))
        checks.expect(ended.code == 0 and bool(local), "the model works locally", ended)
        store = Store(arguments.store, model)
        try:
            check_generate(checks, program, store, local)
            check_faults(checks, program, store)
            check_absent(checks, program, store)
            if arguments.store == "s3":
                check_wrong_bytes(checks, program, store)
                check_credentials(checks, program, store)
            else:
                check_web_folder(checks, program, store, model, local)
        finally:
            store.stop()
    return checks.finish(f"remote {arguments.store}")


if __name__ == "__main__":
    sys.exit(main())
