"""Keeps a Ray of a head and two nodes with a pretended GPU each, on this machine; obeys stdin.

`remove` kills a node as a power cut would, `add` adds one; `done` is told after each.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main(temporary: str) -> None:
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": temporary}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, num_gpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        else:
            nodes.append(cluster.add_node(num_cpus=1, num_gpus=1))
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
