#!/bin/bash
# Collects what tools/gpu_check.sh needs on a machine without Debian's packages and without a network into
# FOLDER/deps.tar.gz: headers, CMake files and small shared libraries, laid out as they lie under /, and a pkg-config.
#   tools/gpu/pack_deps.sh [FOLDER]           FOLDER: .gpu-deps, which git ignores
#   PARITY=DIR tools/gpu/pack_deps.sh         and models with reference tensors for the parity part
# Runs on the machine that builds t2v (Debian 12, x86-64). The libraries need glibc 2.36 or newer there.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:-.gpu-deps}
arch=x86_64-linux-gnu
# The limit of what may travel, so that sources, dependencies and parity models fit together.
max_kib=$((30 * 1024))

packages=(libspdlog-dev libfmt-dev libcli11-dev nlohmann-json3-dev catch2 libsentencepiece-dev libutf8proc-dev
          liburing-dev libssl-dev zlib1g-dev libcurl4-openssl-dev libxxhash-dev)
# What the linker asks for (lib<name>.so); libcurl's own dependencies stay behind: the module that needs them is
# loaded for http:// models only.
# Only libcrypto is used of OpenSSL, but CMake looks for libssl too.
libraries=(spdlog fmt sentencepiece sentencepiece_train utf8proc uring crypto ssl z curl)

fail() { echo "pack_deps: $*" >&2; exit 1; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir -p "$out/usr/lib/$arch" "$out/bin" "$target"

for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
    fail "$package is not installed; run tools/setup/setup.sh test"
  dpkg -L "$package" | grep -E '^/usr/(include/|(lib|share)/([^/]+/)?(cmake|pkgconfig)/)' | while read -r file; do
    [ -f "$file" ] || continue
    mkdir -p "$out$(dirname "$file")"
    cp -L "$file" "$out$file"
  done
done
for name in "${libraries[@]}"; do
  link=/usr/lib/$arch/lib$name.so
  [ -e "$link" ] || fail "$link is missing"
  real=$(readlink -f "$link")
  soname=$(objdump -p "$real" | awk '$1 == "SONAME" {print $2}')
  folder=$out/usr/lib/$arch
  cp "$real" "$folder/$soname"
  strip --strip-unneeded "$folder/$soname" 2>/dev/null || true
  # CMake's package files name the full version.
  for other in "lib$name.so" "$(basename "$real")"; do
    [ -e "$folder/$other" ] || ln -s "$soname" "$folder/$other"
  done
done
cp /usr/lib/libCatch2WithMain.a "$out/usr/lib/"

# pkg-config that looks in this folder only.
cp "$(readlink -f "$(command -v pkgconf)")" "$out/bin/pkgconf"
cp "$(ldd "$out/bin/pkgconf" | awk '/libpkgconf/ {print $3}')" "$out/bin/"
cat >"$out/bin/pkg-config" <<'EOF'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
export LD_LIBRARY_PATH="$here" PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_PATH=
export PKG_CONFIG_LIBDIR="$root/usr/lib/x86_64-linux-gnu/pkgconfig:$root/usr/share/pkgconfig"
exec "$here/pkgconf" "$@"
EOF
chmod +x "$out/bin/pkg-config"

# Models with reference tensors: those that this version can run, without what only people look at.
if [ -n "${PARITY:-}" ]; then
  mkdir -p "$out/parity"
  cp "$PARITY/check.py" "$out/parity/"
  for name in ${PARITY_CASES:-wan22-t2v-moe wan21-t2v-hd128-bf16}; do
    cp -rL "$PARITY/$name" "$PARITY/$name-ref" "$out/parity/"
    rm -f "$out/parity/$name-ref"/debug_*
  done
  chmod -R u+w "$out/parity"
fi

tar -C "$out" -czf "$target/deps.tar.gz" .
kib=$(du -k --apparent-size "$target/deps.tar.gz" | cut -f1)
[ "$kib" -le $max_kib ] || fail "$target/deps.tar.gz has $kib KiB, more than $max_kib"
echo "$target/deps.tar.gz: $kib KiB; carry $target with the working tree"
