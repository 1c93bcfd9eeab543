#!/bin/sh
# Everything that needs a GPU, in two runs of at most six minutes each.
#
#     tests/benchmarks/gpu.sh baseline [FOLDER] [--device cpu --quick]
#     tests/benchmarks/gpu.sh proof [FOLDER] [--device cpu --quick]
#
# baseline: what an update costs by precision, layout, determinism and batch, and what `Run` does.
# proof: the tests marked `gpu`, rows of step.py, and runs that share the GPU.
#
# Writes small JSON files into FOLDER, or $OUT, or the working directory. Needs torch, numpy, pillow,
# pydantic, safetensors, scikit-image and, for the tests, pytest with pytest-timeout: no Ray, no
# MLflow. PYTHON names the interpreter.
set -u
cd "$(dirname "$0")/../.." || exit 1
what=${1:?"baseline or proof"}
shift
folder=${OUT:-.}
case ${1:---} in
--*) ;;
*)
    folder=$1
    shift
    ;;
esac
python=${PYTHON:-python3}
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH PYTHONUNBUFFERED=1

mkdir -p "$folder"
case $what in
baseline)
    exec "$python" tests/benchmarks/gpu_baseline.py "$folder" "$@"
    ;;
proof)
    device=cuda quick=
    for each in "$@"; do
        case $each in
        cpu) device=cpu ;;
        --quick) quick="--quick --runs 2" ;;
        esac
    done
    began=$(date +%s)
    failed=0
    took() { echo "gpu.sh: $1: $(($(date +%s) - began)) s"; }

    # Nothing below may use up the time of what comes after it.
    timeout 75 "$python" tests/benchmarks/sharing.py --device $device $quick --seconds 3 \
        --out "$folder" || failed=1
    took sharing
    quick=${quick:+--quick}
    rows="tests/benchmarks/step.py --device $device $quick --out $folder/vdsr --seconds 5"
    timeout 60 "$python" $rows --methods dfsr --networks vdsr --images 4 16 128 \
        --precisions fp32 tf32 bf16 || failed=1
    rows="tests/benchmarks/step.py --device $device $quick --out $folder/edsr --seconds 5"
    timeout 40 "$python" $rows --methods kd --networks edsr --images 16 \
        --precisions fp32 tf32 bf16 || failed=1
    took step
    timeout 40 "$python" tests/benchmarks/gpu_baseline.py "$folder" --device $device $quick \
        --seconds 30 --sections determinism kernels || failed=1
    took determinism
    [ $device = cpu ] && export TUNE_SR_GPU_TESTS_ON=cpu
    timeout $((340 - $(date +%s) + began)) "$python" -m pytest -o addopts= --import-mode=importlib \
        -p no:cacheprovider -m gpu -v --tb=short -ra tests/trainables/test_gpu.py --durations 8 \
        >"$folder/gpu_tests.txt" 2>&1 || failed=1
    grep -E '^(FAILED|ERROR|SKIPPED)|(passed|failed|error).* in ' "$folder/gpu_tests.txt" | cut -c1-300
    took tests
    exit $failed
    ;;
*)
    echo "gpu.sh: $what is neither baseline nor proof" >&2
    exit 2
    ;;
esac
