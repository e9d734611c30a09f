"""Rounds of Ray Tune. A round lasts while this driver has trials to train."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from weightsearch.search.admission import Claims
from weightsearch.search.cluster import Cluster
from weightsearch.search.ledger import Assignment, Ledger
from weightsearch.search.outbox import Outbox
from weightsearch.search.places import Places
from weightsearch.search.retry import Retry

SLOTS_SECONDS: Final = 5.0  # between updates of the cluster's resources
OTHERS_SECONDS: Final = 2.0  # between checks of other drivers' trials
PAUSE_SECONDS: Final = 0.25  # between checks for a free place while no trial runs here


def train_all(
    ledger: Ledger,
    retry: Retry,
    cluster: Cluster,
    trainable: type,
    scratch: Path,
    make_config: Callable[[Assignment], dict[str, Any]],
) -> None:
    """Train trials until all trials of the study have ended, here or under other drivers. Between rounds this driver
    holds no place on the cluster, so that other jobs can use it. scratch: folder for Ray Tune's files."""
    from weightsearch.search.ray_internals import PlaceFactory, RayBroker

    outbox = Outbox(ledger, retry)
    broker = RayBroker(cluster.resources)
    places = Places(broker)
    claims = Claims(outbox, places, _remembered(cluster.slots), _every(OTHERS_SECONDS))
    finished = _every(OTHERS_SECONDS)
    try:
        while True:
            with ledger.noting_faults():
                cluster.check()
                ready = claims.ready()
                if not ready and finished() and outbox.done():
                    return
            if ready:
                _round(claims, cluster, trainable, scratch, make_config, PlaceFactory(broker.bundle, places))
                if outbox.done():
                    return
            else:
                time.sleep(PAUSE_SECONDS)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _round(
    claims: Claims,
    cluster: Cluster,
    trainable: type,
    scratch: Path,
    make_config: Callable[[Assignment], dict[str, Any]],
    factory: Any,
) -> None:
    from ray import tune

    from weightsearch.search.ray_internals import TuneWorkers
    from weightsearch.search.scheduler import LedgerScheduler
    from weightsearch.search.searcher import LedgerSearcher

    workers = TuneWorkers()
    max_failures = claims.ledger.config.base.resources.max_failures
    tune.run(
        trainable,
        name=f"driver-{time.time_ns()}",
        storage_path=str(scratch),
        search_alg=LedgerSearcher(claims, make_config, workers),
        scheduler=LedgerScheduler(
            claims.outbox, workers, max_failures, cluster.check, one_host=cluster.address is None
        ),
        num_samples=-1,
        resources_per_trial=factory,
        max_failures=max_failures,
        reuse_actors=True,
        raise_on_failed_trial=False,
        verbose=0,
    )


def _remembered(slots: Callable[[], int]) -> Callable[[], int]:
    """Cache the result of a function for SLOTS_SECONDS."""
    value, due = slots(), _every(SLOTS_SECONDS)

    def current() -> int:
        nonlocal value
        if due():
            value = slots()
        return value

    return current


def _every(seconds: float) -> Callable[[], bool]:
    """Make a function that returns True at most once per `seconds`."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due
