#!/bin/bash
# Installs what t2v needs and this machine lacks: Debian packages (as root or by sudo) and LibTorch
# (into .deps). Quick when nothing is missing.
#   setup.sh        what building and running need
#   setup.sh test   and what the tests need
# T2V_TORCH=DIR: LibTorch is already there, fetch none.
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

install_torch() {
  local stamp=.deps/stamp wanted
  wanted=$(sha256sum "$setup/python.txt" | cut -d' ' -f1)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && [ -x .deps/bin/python ]; then
    return
  fi
  echo "setup: fetching LibTorch (0.5 GB) into .deps"
  local python
  python=$(usable_python)
  rm -rf .deps
  "$python" -m venv .deps
  .deps/bin/python -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60 \
    --no-deps --no-compile --only-binary=:all: --require-hashes -r "$setup/python.txt"
  echo "$wanted" >"$stamp"
}

install_packages
[ -n "${T2V_TORCH:-}" ] || install_torch
