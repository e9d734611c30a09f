"""Nodes of a joined cluster: checks that the head answers and that each host can train."""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from weightsearch.errors import SearchError, kind_and_line
from weightsearch.search.connection import HEAD_SECONDS, connect
from weightsearch.search.host import call
from weightsearch.search.watch import Watch

PROGRAM: Final = "weightsearch.errors:__name__"  # a fast import, run on every node before any trial begins
FIRST_SECONDS: Final = 60.0  # timeout for the nodes present at the start
CONNECT_SECONDS: Final = 1.0
WARN_SECONDS: Final = 10.0  # without an answer of the head
LOOK_SECONDS: Final = 2.0  # between checks for new nodes and answers


def watch_head(address: str, tell: Callable[[str], None]) -> Watch:
    """Warn of a head that does not answer: after HEAD_SECONDS Ray ends the driver with little explanation. address:
    host:port of the head. tell: called with a warning."""

    def look() -> bool:
        with suppress(OSError):
            connect(address, CONNECT_SECONDS)
            return True
        return False

    def away(seconds: float) -> None:
        tell(
            f"the head of the Ray cluster at {address} has not answered for {seconds:.0f} s; after {HEAD_SECONDS} s "
            "Ray ends this driver. If the head is lost, start Ray there again, then on every other host, and give the "
            "same command; nothing is lost"
        )

    return Watch(look, WARN_SECONDS, away)


class Nodes:
    """Checks every node once: it must import weightsearch and have all files. Without these checks, Ray would only
    report that a trial's process died, or trials would restart on other hosts until they fail.

    fits: returns whether a trial fits on a node with given resources; other nodes are not checked. missing: runs on
    each node and returns the fault of its host, or None. tell: called with warnings.
    """

    def __init__(
        self,
        fits: Callable[[Mapping[str, float]], bool],
        missing: Callable[[], str | None],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fits = fits
        self.missing = missing
        self.tell = tell
        self.clock = clock
        self.asked: dict[str, str] = {}  # node -> host name
        self.lost: set[str] = set()
        self.waiting: dict[
            Any, tuple[str, bool]
        ] = {}  # future of an answer -> (node, whether it has imported weightsearch)
        self._looked = clock()
        self._ask()
        self._hear(FIRST_SECONDS)

    def check(self) -> None:
        """Raise SearchError if a node cannot train; warn of lost nodes. Called continuously."""
        if self.clock() - self._looked >= LOOK_SECONDS:
            self._looked = self.clock()
            self._ask()
            self._hear(0.0)

    def _ask(self) -> None:
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and self.fits(node["Resources"])}
        for node in nodes.keys() - self.asked.keys():
            self.asked[node] = nodes[node]["NodeManagerHostname"]
            self._submit(
                node, pkgutil.resolve_name, PROGRAM, imports=False
            )  # a function of the standard library: every node has it
        for node in sorted(self.asked.keys() - nodes.keys() - self.lost):
            self.lost.add(node)
            self.tell(
                f"the host {self.asked[node]} left the Ray cluster: it was stopped, or cut off for too long; its "
                "trials continue elsewhere. To use it again: ray stop there, then the ray start command of that host"
            )

    def _submit(self, node: str, function: Callable[[Any], object], argument: object, *, imports: bool) -> None:
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(function)
        self.waiting[task.options(scheduling_strategy=here).remote(argument)] = (node, imports)

    def _hear(self, seconds: float) -> None:
        end = self.clock() + seconds
        while self.waiting:
            ready, _ = ray.wait(list(self.waiting), num_returns=1, timeout=max(0.0, end - self.clock()))
            if not ready:
                return
            self._take(ready[0])

    def _take(self, future: Any) -> None:
        node, imports = self.waiting.pop(future)
        try:
            missing = ray.get(future)
        except RayTaskError as error:
            if imports:  # an unexpected error; the trials there will report more
                return
            raise SearchError(
                f"the host {self.asked[node]} cannot import weightsearch ({kind_and_line(error.cause)}); install the "
                "same packages in the Python environment that `ray start` uses there, start Ray there again, and give "
                "the same command; nothing is lost"
            ) from None
        except RayError:  # the node is gone again
            return
        if not imports:
            self._submit(node, call, self.missing, imports=True)
        elif missing is not None:
            raise SearchError(f"{missing}; fix that, then give the same command; nothing is lost")
