#!/bin/sh
# Runs the fuzz targets long: each for some time, or for a number of inputs.
#   tools/fuzz.sh BUILD [SECONDS [TARGET...]]      SECONDS of each (600); all targets
#   RUNS=50000000 tools/fuzz.sh BUILD 0 gguf       so many inputs instead
# New inputs are kept in BUILD/tests/fuzz/found_TARGET, failing ones as BUILD/tests/fuzz/failed_TARGET_*.
set -eu
build=${1:?usage: tools/fuzz.sh BUILD [SECONDS [TARGET...]]}
seconds=${2:-600}
[ $# -le 2 ] && shift $# || shift 2
source=$(cd "$(dirname "$0")/.." && pwd)
programs=$build/tests/fuzz
[ $# -gt 0 ] || set -- $(cd "$programs" && ls ./*_fuzz | sed 's|^./||; s|_fuzz$||')
failed=0
for target; do
  echo "== $target"
  "$programs/${target}_fuzz" -max_total_time="$seconds" -runs="${RUNS:--1}" -timeout=10 -malloc_limit_mb=64 \
    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$programs/failed_${target}_" \
    "$programs/found_$target" "$source/tests/fuzz/seeds/$target" 2>&1 | tail -12 | grep -v '^$'
  ls "$programs"/failed_"${target}"_* >/dev/null 2>&1 && failed=1
done
exit $failed
