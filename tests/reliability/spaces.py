"""Small, full and read-only disks for the tests: tmpfs in a mount namespace of this process and its children."""
import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNS = 0x00020000


def private_mounts():
    """True: from now on mounts of this process are seen by nobody else and end with it."""
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True).returncode == 0


@contextlib.contextmanager
def disk(path, options):
    """A tmpfs at `path` (made here), for example 'size=16k'."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "t2v-test", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)


def make_read_only(path):
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
