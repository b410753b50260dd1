#!/usr/bin/env python3
"""Makes the packages of a build folder and tries them.  check_package.py BUILD [--debian MIRROR]
Without --debian: the .deb is unpacked into a folder, looked through, and its program makes a video from there.
With --debian (root, debootstrap, a package mirror): both packages are tried in a fresh Debian 12 of their own."""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile

PLACES = ["usr/bin/t2v", "usr/lib/t2v/libt2v_engine.so", "usr/lib/t2v/libtorch_cpu.so", "usr/share/man/man1/t2v.1",
          "usr/share/bash-completion/completions/t2v", "usr/share/zsh/vendor-completions/_t2v",
          "usr/share/fish/vendor_completions.d/t2v.fish", "usr/share/doc/t2v/LICENSE",
          "usr/share/t2v/models/shapes/t2v.json", "usr/share/t2v/profiles"]
MAKE = ["generate", "--prompt", "a small red circle moves right on a black background", "--size", "64x64", "--frames",
        "5", "--steps", "2", "--seed", "1", "--quiet", "-o"]


def run(command, **more):
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200, **more)
    if done.returncode:
        sys.exit(f"exit status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def one(folder, pattern):
    found = glob.glob(os.path.join(folder, pattern))
    if len(found) != 1:
        sys.exit(f"expected one {pattern}, got {found}")
    return found[0]


def look_through(package, folder):
    fields = run(["dpkg-deb", "--field", package])
    for wanted in ("Package: t2v", "libavcodec", "libc6 (>=", "libsentencepiece"):
        if wanted not in fields:
            sys.exit(f"the package's fields lack {wanted!r}:\n{fields}")
    if "torch" in fields.split("Description")[0]:
        sys.exit(f"LibTorch travels inside and is no dependency:\n{fields}")
    run(["dpkg-deb", "--extract", package, folder])
    absent = [place for place in PLACES if not os.path.exists(os.path.join(folder, place))]
    if absent:
        sys.exit(f"not in the package: {absent}")
    program = os.path.join(folder, "usr/bin/t2v")
    print(run([program, "--version"], env={}).strip())
    run([program, *MAKE, os.path.join(folder, "a.mp4")], env={})
    print(run([program, "inspect", os.path.join(folder, "a.mp4"), "--command"], env={}).strip())


def try_debian(packages, mirror, folder):
    root = os.path.join(folder, "root")
    run(["debootstrap", "--variant=minbase", "bookworm", root, mirror])
    for package in packages:
        shutil.copy(package, os.path.join(root, "root"))
    deb, archive = (os.path.basename(package) for package in packages)
    inside = ["unshare", "--mount", "--pid", "--fork", "sh", "-c",
              f"mount -t proc proc {root}/proc && mount --bind /dev {root}/dev && exec chroot {root} sh -c \"$0\""]
    quiet = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
    make = " ".join(f"'{word}'" for word in MAKE)
    for script in (f"{quiet} update && {quiet} install -y --no-install-recommends /root/{deb} >/dev/null",
                   f"cd /root && env -i /usr/bin/t2v {make} deb.mp4 && t2v inspect deb.mp4",
                   # The libraries stay; t2v itself goes, and comes back out of the archive, somewhere else.
                   "apt-mark manual $(dpkg-query -W -f '${Package} ' 'lib*') >/dev/null && dpkg --remove t2v",
                   f"mkdir -p '/opt/some where' && tar -C '/opt/some where' -xf /root/{archive} && cd /root && "
                   f"env -i '/opt/some where'/t2v-*/usr/bin/t2v {make} tar.mp4 && cmp deb.mp4 tar.mp4"):
        print(run([*inside, script]).strip())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--debian", metavar="MIRROR", help="of Debian packages, for debootstrap")
    given = parser.parse_args()
    build = os.path.abspath(given.build)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        made = os.path.join(folder, "made")
        run(["cpack", "-B", made], cwd=build)
        packages = [one(made, "t2v_*.deb"), one(made, "t2v-*.tar.gz")]
        print({os.path.basename(package): os.path.getsize(package) for package in packages})
        if given.debian:
            try_debian(packages, given.debian, folder)
        else:
            look_through(packages[0], os.path.join(folder, "unpacked"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
