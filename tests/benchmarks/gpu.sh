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

case $what in
baseline)
    exec "$python" tests/benchmarks/gpu_baseline.py "$folder" "$@"
    ;;
*)
    echo "gpu.sh: $what is neither baseline nor proof" >&2
    exit 2
    ;;
esac
