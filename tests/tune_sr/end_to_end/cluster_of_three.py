"""Keeps a Ray of a head and two nodes with a pretended GPU each, on this machine; obeys stdin.

`remove` kills a node as a power cut would, `preempt` tells Ray some seconds before that it is going
to be taken away, `add` adds one; `done` is told after each.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from ray.cluster_utils import Cluster

_NOTICE_S = 2
"""How long a node still runs once it is known to be taken away."""


def main(temporary: str) -> None:
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": temporary}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, num_gpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        elif line.strip() == "preempt":
            announce(cluster.address, nodes[-1])
            time.sleep(_NOTICE_S)
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        else:
            nodes.append(cluster.add_node(num_cpus=1, num_gpus=1))
        print("done", flush=True)
    cluster.shutdown()


def announce(address: str, node: Any) -> None:
    """Say that a node is going to be taken away, as an autoscaler would."""
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "wanted elsewhere"]
    named = ["--address", address, "--node-id", node.node_id]
    limit = ["--deadline-remaining-seconds", str(_NOTICE_S)]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
    subprocess.run([*ray, *named, *reason, *limit], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1])
