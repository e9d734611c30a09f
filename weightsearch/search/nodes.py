"""The nodes of a cluster that was joined: whether its head answers, and whether each host has what trials need."""

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

PROGRAM: Final = "weightsearch.errors:__name__"  # a quick import: nodes are asked before any trial begins
FIRST_SECONDS: Final = 60.0  # for the nodes that are there when the driver comes
CONNECT_SECONDS: Final = 1.0
WARN_SECONDS: Final = 10.0  # of a head that does not answer
LOOK_SECONDS: Final = 2.0  # between two looks at nodes that came later, and at their answers


def watch_head(address: str, tell: Callable[[str], None]) -> Watch:
    """Warn of a head that does not answer: after HEAD_SECONDS Ray ends the driver and says little. address: the head's,
    host:port. tell: takes a warning."""

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
    """Asks every node, once, to import the program, then for what is missing there. Without it, Ray would only say that
    the process of a trial died, or trials would begin again on other hosts until they fail.

    fits: true for the resources of a node on which a trial fits; others are not asked. missing: run on each node; gives
    the fault of its host, or None. tell: takes a warning.
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
        self.waiting: dict[Any, tuple[str, bool]] = {}  # the future of an answer -> node, whether it has the program
        self._looked = clock()
        self._ask()
        self._hear(FIRST_SECONDS)

    def check(self) -> None:
        """Raise SearchError if a node cannot train. Warn of nodes that were lost. Called all the time."""
        if self.clock() - self._looked >= LOOK_SECONDS:
            self._looked = self.clock()
            self._ask()
            self._hear(0.0)

    def _ask(self) -> None:
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and self.fits(node["Resources"])}
        for node in nodes.keys() - self.asked.keys():
            self.asked[node] = nodes[node]["NodeManagerHostname"]
            self._submit(node, pkgutil.resolve_name, PROGRAM, imports=False)  # Python's own: every node has it
        for node in sorted(self.asked.keys() - nodes.keys() - self.lost):
            self.lost.add(node)
            self.tell(
                f"the host {self.asked[node]} left the Ray cluster: it was stopped, or cut off for too long; its "
                "trials go on elsewhere. To use it again: ray stop there, then the ray start command of that host"
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
            if imports:  # an error that nobody expected; the trials there will say more
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
            raise SearchError(f"{missing}; mend that, then give the same command; nothing is lost")
