"""Private names of Ray; used in this file only.

pyproject.toml allows the versions of Ray that tests/unit/search/test_ray_internals.py has confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any, Final

import ray
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from weightsearch.search.places import Places, Request

JOB_DIGITS: Final = 8  # the last digits of a placement group's id are its job
GONE: Final = "REMOVED"
GRANTED: Final = "CREATED"


def connect_to_head(address: str) -> None:
    """Connect to the head of a cluster at host:port. Raises ray.exceptions.AuthenticationError, or RpcError if no head
    answers."""
    ray._raylet.GcsClient(address=address)


def read_token_again() -> None:
    """Make Ray read RAY_AUTH_MODE and the token again; by default it reads them at its import and first start only."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def mute() -> None:
    """Stop Ray from printing about dead nodes and processes, which the driver reports itself."""
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


def running_cluster() -> str:
    """Resolve `auto` to host:port: RAY_ADDRESS, or a Ray that runs on this machine. Raises ConnectionError without
    either."""
    address = ray._private.services.canonicalize_bootstrap_address("auto")
    if address is None:  # RAY_ADDRESS is `local`
        raise ConnectionError
    return str(address)


def dead_processes() -> set[str]:
    """Kinds of Ray processes that this process started on this machine and that have died."""
    node = getattr(ray._private.worker, "_global_node", None)
    return set() if node is None else {kind for kind, _ in node.dead_processes()}


class TuneWorkers:
    """Workers of one call of tune.run. controller: Ray Tune's controller, set with the first trial."""

    def __init__(self) -> None:
        self.controller: Any = None

    def idle(self) -> int:
        return 0 if self.controller is None else int(self.controller._actor_cache.num_cached_objects)

    def unplaced(self) -> int:
        return sum(not self.has_place(trial) for trial in self.waiting())

    def busy(self) -> bool:
        # Ray Tune counts trials that it abandoned before they ran as live.
        return self.controller is not None and any(
            not trial.is_finished() for trial in self.controller.get_live_trials()
        )

    def waiting(self) -> list[Trial]:
        """Trials that do not run yet, oldest first."""
        if self.controller is None:
            return []
        return [trial for trial in self.controller.get_trials() if trial.status == Trial.PENDING]

    def has_place(self, trial: Trial) -> bool:
        """Return True if Ray has the resources for a waiting trial's worker."""
        actor = self.controller._trial_to_actor.get(trial)
        return actor is not None and bool(self.controller._actor_manager.is_actor_started(actor))

    def release(self) -> None:
        if self.idle():
            self.controller._cleanup_cached_actors(force_all=True)


class RayBroker:
    """Requests places from Ray: one placement group each, as Ray Tune does for workers. resources: of one trial."""

    def __init__(self, resources: dict[str, float]) -> None:
        self.bundle = {"CPU": resources["cpu"], "GPU": resources["gpu"]}
        self.bundle = {name: value for name, value in self.bundle.items() if value}
        self.job = str(ray.get_runtime_context().get_job_id())[-JOB_DIGITS:]
        self._ready: dict[Any, Any] = {}  # ticket -> future of its place

    def ask(self) -> Any:
        ticket = ray.util.placement_group([self.bundle])
        self._ready[ticket] = ticket.ready()
        return ticket

    def granted(self, tickets: Iterable[Any]) -> list[Any]:
        futures = {self._ready[ticket]: ticket for ticket in tickets}
        ready, _ = ray.wait(list(futures), num_returns=len(futures), timeout=0)
        for future in ready:
            del self._ready[futures[future]]
        return [futures[future] for future in ready]

    def withdraw(self, ticket: Any) -> None:
        self._ready.pop(ticket, None)
        ray.util.remove_placement_group(ticket)

    def requests(self) -> list[Request]:
        rows = ray.util.placement_group_table()
        return [self._request(key, row) for key, row in rows.items() if row["state"] != GONE]

    def _request(self, key: str, row: dict[str, Any]) -> Request:
        total: dict[str, float] = {}
        for bundle in row["bundles"].values():
            for name, value in bundle.items():
                total[name] = total.get(name, 0.0) + value
        size = max(ceil(total.get(name, 0.0) / value - 1e-9) for name, value in self.bundle.items())
        fits = total.keys() <= self.bundle.keys()
        return Request(key, key[-JOB_DIGITS:], row["state"] == GRANTED, size, fits)


class PlaceFactory(PlacementGroupFactory):  # type: ignore[misc]
    """Gives Ray Tune's workers the places granted to this driver. Without a granted place (a trial whose worker died),
    a new place is requested."""

    def __init__(self, bundle: dict[str, float], places: Places) -> None:
        super().__init__([bundle])
        self.places = places

    def to_placement_group(self) -> Any:
        return self.places.take() or super().to_placement_group()

    def __deepcopy__(self, memo: dict[int, Any]) -> PlaceFactory:  # Ray Tune copies it for every trial
        return self

    def __reduce__(self) -> tuple[Any, ...]:  # Ray Tune pickles it into files that are never read
        return PlacementGroupFactory, (self.bundles,)
