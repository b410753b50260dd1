#!/bin/bash
# Everything that needs a GPU, in one go of less than ten minutes: builds, tests, sanitises, compares with references,
# measures; leaves gpu_check.json and gpu_check.md in OUT.
#   tools/gpu_check.sh [build|test|sanitise|parity|bench|more|all] [OUT]      (all, out/gpu)
# bench alone includes more: the VAE, plain PyTorch, memory, the whole program; all does these last, as time is left.
# Parts can be run one by one; results of earlier parts are kept in the build folder and merged. What the machine lacks
# is taken from .gpu-deps (tools/gpu/pack_deps.sh). Variables:
#   T2V_TORCH=DIR             LibTorch; else the torch package of python3
#   T2V_GPU_BUILD=DIR         build folder (build-gpu)
#   T2V_GPU_CHECK_SECONDS=N   time for everything (570)
#   T2V_GPU_CHECK_DRY=1       no GPU: small shapes on the CPU, GPU tests are skipped; to try the script
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1
exec python3 tools/gpu/gpu_check.py "${1:-all}" "${2:-out/gpu}"
