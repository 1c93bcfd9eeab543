#!/bin/bash
#SBATCH --job-name=@{name}
#SBATCH --nodes=@{workers}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=@{cpus}
@{gpus_per_node}
@{memory}
#SBATCH --time=@{time}
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
# The study @{name} on SLURM:
#   sbatch THIS_FILE        begins the study, or goes on with it
# Three minutes before its time is up the study is saved and the job goes back into the queue.
@{environment}

# The address that other nodes know this one by: not 127.0.1.1, as some hosts call themselves.
ip=$({ hostname --ip-address; hostname --all-ip-addresses; } | tr ' ' '\n' |
    grep -E '^[0-9.]+$' | grep -m 1 -v '^127\.')
# Jobs that share a node do not share a cluster, nor take what connections are given (from 32768).
address=${ip:=127.0.0.1}:$((20000 + SLURM_JOB_ID % 12000))
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN  # nobody else who reaches these nodes may use it
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
step=(srun --export=ALL --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK")
node=(--num-cpus=@{cpus} --num-gpus=@{gpus} --disable-usage-stats --block)

nodes_at_work() {  # waits until the cluster has as many nodes as asked for
    python - "${address%:*}" "${address#*:}" "$1" <<'END'
import socket
import sys
import time

import ray

host, port, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
patience = time.monotonic() + 300
while time.monotonic() < patience:
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            break
    time.sleep(1)
ray.init(address=f"{host}:{port}", log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < wanted:
    if time.monotonic() > patience:
        sys.exit(f"fewer than {wanted} nodes have started Ray in five minutes")
    time.sleep(1)
END
}

trap 'kill $(jobs -p) 2>/dev/null' EXIT
"${step[@]}" --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" \
    ray start --head --node-ip-address="$ip" --port="${address#*:}" --include-dashboard=false \
    --temp-dir="/tmp/ray-$SLURM_JOB_ID" "${node[@]}" &
nodes_at_work 1 || exit 1
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
    "${step[@]}" --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" \
        ray start --address="$address" "${node[@]}" &
    nodes_at_work "$SLURM_JOB_NUM_NODES" || exit 1
fi

(
    @{script}
) &
driver=$!
time_is_up=
trap 'told=yes; time_is_up=yes; kill -TERM "$driver"' USR1
trap 'told=yes; kill -TERM "$driver"' TERM INT
told=yes
while [ "$told" ]; do  # a signal ends a wait, and the driver may still be saving
    told=
    wait "$driver"
    code=$?
done
[ "$time_is_up" ] && [ "$code" -eq 143 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
