#!/usr/bin/env bash
# Everything about CUDA that needs a GPU: build, tests, compute-sanitizer, benchmark. Needs no network: nvcc, cmake,
# ninja, torch, pytest and hypothesis must be there; pybind11 may lie as a wheel in the folder WHEELS.
#
#   tools/verify_cuda.sh [OUTPUT_FOLDER] [WHEELS]
#
# Writes verify.json (what passed), bench_cuda.json, and the logs. The exit status is that of the whole.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:-cuda-report}" && cd "${1:-cuda-report}" && pwd)
wheels=${2:-}
python=${PYTHON:-python3}
build=$out/build
export PYTHONPATH="$PWD:$build/csrc/bindings:$out/site"
status=0
declare -A results

# run NAME LIMIT_SECONDS COMMAND...: logs it, remembers whether it passed.
run() {
  local name=$1 limit=$2
  shift 2
  printf '== %s (%ss)\n' "$name" "$SECONDS"
  if timeout "$limit" "$@" >"$out/$name.log" 2>&1; then
    results[$name]=passed
  else
    results[$name]="failed ($?)"
    status=1
    tail -n 40 "$out/$name.log"
  fi
}

if [ -n "$wheels" ]; then
  run wheels 60 "$python" -m pip install --quiet --no-index --no-deps --target "$out/site" "$wheels"/*.whl
fi
capability=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') || exit 1
configure=(cmake --preset cuda -B "$build" "-DPython_EXECUTABLE=$(command -v "$python")"
  "-DCMAKE_CUDA_ARCHITECTURES=$capability")
run configure 60 "${configure[@]}"
run build 240 cmake --build "$build"
if [ "$status" -eq 0 ]; then
  export TERNZIP_REQUIRE_CUDA=1
  run backend 60 "$python" -c 'import ternzip; print(ternzip.backend()); assert ternzip.backend()["cuda"]["devices"][0]["native"]'
  run tests 180 "$python" -m pytest -q -p no:cacheprovider tests/test_cuda_*.py
  # Where the sanitizer cannot run at all (it needs more of the host than a container may give), that is recorded.
  for tool in memcheck racecheck; do
    if ! command -v compute-sanitizer >/dev/null; then
      results[$tool]="unavailable: no compute-sanitizer"
    elif ! timeout 60 compute-sanitizer --tool "$tool" "$python" -c \
      'import torch; torch.ones(1, device="cuda").add_(1).cpu()' >"$out/$tool-probe.log" 2>&1; then
      results[$tool]="unavailable: $(tail -n 1 "$out/$tool-probe.log" | tr -d '"\\' | tr -c '[:print:]' ' ')"
    else
      run "$tool" 120 compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "$python" tools/exercise_cuda.py
    fi
  done
  run benchmark 120 "$python" tools/bench_cuda.py --seconds 1 --json "$out/bench_cuda.json"
fi

{
  printf '{\n "seconds": %s' "$SECONDS"
  for name in "${!results[@]}"; do printf ',\n "%s": "%s"' "$name" "${results[$name]}"; done
  printf '\n}\n'
} >"$out/verify.json"
cat "$out/verify.json"
exit "$status"
