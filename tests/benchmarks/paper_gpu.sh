#!/bin/sh
# DFSR's Table 2 and DFSR+CMI at the paper's budget, in pieces of at most six minutes of a GPU.
#
#     python tests/benchmarks/paper_rows.py write rows --space search_spaces/paper/dfsr_ablation.yaml
#     tests/benchmarks/paper_gpu.sh rows            # again and again, until every row has ended
#
# The first command needs the project installed, on any machine; the second torch, numpy, pillow,
# pydantic, safetensors and scikit-image. Bring the folder along from piece to piece: it holds the
# checkpoints. A second folder of search_spaces/paper/dfsr_cmi_vdsr.yaml gives DFSR+CMI.
# TUNE_SR_DATA is the folder of data/Set5 and weights/; PYTHON names the interpreter.
set -eu
folder=$(cd "${1:?the folder of rows.json}" && pwd)
cd "$(dirname "$0")/../.."
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH PYTHONUNBUFFERED=1
exec timeout 360 "${PYTHON:-python3}" tests/benchmarks/paper_rows.py run "$folder" --seconds 330
