#!/bin/bash
# Installs what t2v needs and this machine lacks: Debian packages (as root or by sudo), LibTorch and
# Arrow (into .deps). Quick when nothing is missing.
#   setup.sh        what building and running need
#   setup.sh test   and what the tests need (also into .deps-test)
# T2V_TORCH=DIR: LibTorch is already there, fetch none. T2V_S3=OFF: no Arrow.
set -euo pipefail
cd "$(dirname "$0")/../.."
setup=tools/setup
lists=("$setup/packages.txt")
[ "${1:-}" != test ] || lists+=("$setup/packages-test.txt")

fail() { echo "setup: $*" >&2; exit 1; }

missing_packages() {
  local name
  for name in $(cat "${lists[@]}" | grep -v '^#' | sort -u); do
    case "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" in
      installed) ;;
      *) echo "$name" ;;
    esac
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "packages are missing and there is neither root nor sudo; have these installed: $missing"
  fi
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "setup: not a Debian system; make sure the equivalents of ${lists[*]} are there"
    return
  fi
  missing=$(missing_packages | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  echo "setup: installing $missing"
  local apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq)
  as_root "${apt[@]}" update
  # shellcheck disable=SC2086  # a list of words
  as_root env DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends $missing >/dev/null
}

# The first Python that can make a virtual environment; Debian's own before one of the user's.
usable_python() {
  local python
  for python in /usr/bin/python3 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  fail "no Python 3.10 to 3.13 with the venv module; install python3-venv"
}

# install_python FOLDER LIST WHAT: what the list pins, into a virtual environment; a changed list is
# installed over the old one.
install_python() {
  local folder=$1 list=$2 stamp wanted python
  stamp=$folder/stamp-$(basename "$list" .txt)
  wanted=$(sha256sum "$list" | cut -d' ' -f1)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && [ -x "$folder/bin/python" ]; then
    return
  fi
  echo "setup: fetching $3 into $folder"
  if ! "$folder/bin/python" -c '' 2>/dev/null; then
    python=$(usable_python)
    rm -rf "$folder"
    "$python" -m venv "$folder"
  fi
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60 \
    --no-deps --no-compile --only-binary=:all: --require-hashes -r "$list"
  echo "$wanted" >"$stamp"
}

install_packages
[ -n "${T2V_TORCH:-}" ] || install_python .deps "$setup/torch.txt" "LibTorch (0.5 GB)"
[ "${T2V_S3:-}" = OFF ] || install_python .deps "$setup/arrow.txt" "Arrow (48 MB, for s3://)"
[ "${1:-}" != test ] || install_python .deps-test "$setup/moto.txt" "an S3 server for the tests"
[ "${1:-}" != test ] || install_python .deps-test "$setup/c2pa.txt" "the C2PA library (16 MB) for the tests"
