"""A Ray cluster of processes on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def head(cpus: int) -> str:
    """The script of a cluster of a single node."""
    return f"""
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": {cpus}, "include_dashboard": False}})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def cluster(script: str, environment: dict[str, str] | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a cluster, and the process that keeps it until its input ends."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        lines = (line.strip() for line in keeper.stdout)
        yield next(line for line in lines if line.replace(".", "").replace(":", "").isdigit()), keeper
    finally:
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait(timeout=60)
