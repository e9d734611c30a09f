"""Driver of a study: database, Ray, trials, final comparison."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from optuna.trial import TrialState

from weightsearch.config import StudyConfig
from weightsearch.config.differences import differences
from weightsearch.config.paths import flat
from weightsearch.config.yaml_source import placed
from weightsearch.data.dataset import changed_content, check_content, of_any_size, open_dataset
from weightsearch.data.reading import Progress
from weightsearch.errors import (
    CheckpointError,
    DataError,
    SearchError,
    StoreError,
    StoreUnavailable,
    WeightsearchError,
    fault_line,
    last_line,
)
from weightsearch.evaluation.data_warnings import warnings_before_training, with_warnings
from weightsearch.evaluation.evaluate import evaluate_checkpoint
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.evaluation.scores import open_truths
from weightsearch.files import write_text
from weightsearch.search.checkpoints import Checkpoints
from weightsearch.search.cluster import Cluster, ClusterLost
from weightsearch.search.host import missing_on_this_host
from weightsearch.search.ledger import OUTCOMES, Assignment, Event, Ledger, Listener, stored_config
from weightsearch.search.retry import Retry
from weightsearch.search.rounds import train_all
from weightsearch.search.samplers.sampler import check_sampler
from weightsearch.search.stopping import stoppable
from weightsearch.search.trial_log import log_path, prepare_log
from weightsearch.search.trivial import trivial_baselines
from weightsearch.search.watch import Watch
from weightsearch.study.export import best_configuration
from weightsearch.study.lease import Lease
from weightsearch.study.store import CONTENT, MEASURED, NAIVE, NAIVE_ON_TEST, UID, WARNINGS, StudyStore
from weightsearch.study.summary import StudySummary, summarise
from weightsearch.study.writer import Writer
from weightsearch.training.preflight import learning, preflight, used_terms

SILENT_SECONDS: Final = 20.0  # without an answer of the database; the lease is renewed every 7.5 s
CLUSTERS_LOST: Final = 3  # consecutive losses without a new epoch


class Annotator(Protocol):
    """Writer of notes in the database: see dashboards/report/notes.py."""

    def before_end(self, trial: int, state: TrialState) -> None:
        """Write the note of a trial that is about to end; called inside the transaction that ends it."""

    def study(self, writer: Writer, *, now: bool = False) -> None:
        """Write the study's note if it is due. now: write it in any case."""


class Interrupted(SearchError):
    """The user or the system stopped the driver; its running trials wait for the next `run`."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StudyRun:
    """A driver's run of a study. Every report is stored in the database before the next step, so that the driver can be
    killed at any time and started again.

    join: run beside other drivers; otherwise another driver raises StudyHeld. new: the study must not exist yet.
    annotate: creates the writer of notes.
    """

    def __init__(
        self,
        config: StudyConfig,
        listener: Listener | None = None,
        *,
        join: bool = False,
        new: bool = False,
        annotate: Callable[[StudyStore], Annotator] | None = None,
    ) -> None:
        self.config = config
        self.folder = Path(config.base.resources.run_dir).absolute() / config.name
        self.listener = listener or (lambda _: None)
        with ExitStack() as stack:
            with _folder_made(self.folder):
                self.store = _open_store(config, new=new)
            stack.callback(self.store.close)
            self.store.joined = join
            self.lease = Lease.take(self.store, join=join)
            stack.callback(self._release)
            self.annotator = None if annotate is None else annotate(self.store)
            before_end = None if self.annotator is None else self.annotator.before_end
            self.writer = Writer(self.store, self.lease, before_end)
            stack.enter_context(self.lease.heartbeat())
            stack.callback(self._watch_database().close)
            self._exit = stack.pop_all()
        self.checkpoints = Checkpoints(self.store, self.folder / f"trials-{self.store.uid}")
        self.retry = Retry(self.listener)

    def _watch_database(self) -> Watch:
        """Warn of a database that neither answers nor refuses, while a transaction waits for it."""
        heard = 0

        def look() -> bool:
            nonlocal heard
            before, heard = heard, self.lease.answers
            return self.lease.lost or heard > before

        def away(seconds: float) -> None:
            text = f"{self.store.database.name} has not answered for {seconds:.0f} s; reports wait here until it does"
            self.listener(Event("warning", reason=text))

        return Watch(look, SILENT_SECONDS, away)

    def check(self, progress: Progress | None = None) -> None:
        """Check the study before Ray starts: raise errors that would end every trial. Builds the frame cache, and
        evaluates the trivial baselines."""
        check_sampler(self.config)
        base = self.config.base
        with placed(self.config.yaml_source):
            dataset = open_dataset(base, progress=progress)
        self._check_content(dataset.content)
        protocol = protocol_of(base, "validation")
        check_protocol(self.store, protocol.to_plain())
        with placed(self.config.yaml_source), with_warnings(dataset, protocol):
            preflight(learning(self.config), dataset, self.config.search.objectives, used_terms(self.config))
        lines = warnings_before_training(dataset, protocol)
        with self.writer.transaction() as connection:
            self.store.keep(connection, WARNINGS, {"lines": lines}, anew=not self.store.joined)
        for line in lines:
            self.listener(Event("warning", reason=line))
        open_truths(dataset, "validation", protocol, progress)
        if NAIVE not in self.store.config:
            baselines = trivial_baselines(dataset, base, "validation", self.config.search.objectives, progress)
            with self.writer.transaction() as connection:
                self.store.keep(connection, NAIVE, baselines)

    def _check_content(self, now: Mapping[str, float]) -> None:
        """Raise StoreError if the trials so far were trained on other data."""
        with self.writer.transaction() as connection:
            before = self.store.keep(connection, CONTENT, now)
        changed = changed_content(before, now)
        if changed:
            raise StoreError(
                f"the data set has changed since the study {self.config.name!r} began ({', '.join(changed[:4])}), or "
                f"the host {platform.node()} has another copy of it: its trials could not be compared; restore the "
                "data, or start another study with --force-new NAME"
            )

    def search(self, trainable: type | None = None, *, begins: Callable[[], None] | None = None) -> None:
        """Train trials until the study has all of them. trainable: replaces Worker, with the same configuration and
        results. begins: called before Ray starts, if there are trials to train. Raises Interrupted at Ctrl-C,
        SearchError, StoreError."""
        ledger = self.retry.insist(lambda: Ledger(self.config, self.writer, self._heard))
        lost_in_a_row = 0
        if begins is not None and not self.retry.insist(ledger.done):
            begins()
        while not self.retry.insist(ledger.done):
            before = self.retry.insist(self.store.epochs)
            try:
                self._search(ledger, trainable)
                return
            except ClusterLost as lost:
                idle = self.retry.insist(self.store.epochs) == before
                lost_in_a_row = lost_in_a_row + 1 if idle else 1
                if lost_in_a_row > CLUSTERS_LOST:
                    raise
                ledger.fault = None
                self.listener(Event("cluster", reason=str(lost)))

    def _search(self, ledger: Ledger, trainable: type | None) -> None:
        """Train trials with one instance of Ray until the study has all of them."""
        with stoppable() as stop:
            try:
                cluster = Cluster(self.config, lambda text: self.listener(Event("warning", reason=text)))
            except KeyboardInterrupt:
                raise Interrupted(_how_to_go_on(ledger), stop.status) from None
            try:
                self._tune(ledger, cluster, trainable)
            except KeyboardInterrupt:
                raise Interrupted(_how_to_go_on(ledger), stop.status) from None
            except WeightsearchError:
                raise
            except Exception as error:
                if ledger.fault is None or isinstance(ledger.fault, cluster.ray.exceptions.RayError):
                    cluster.check()
                    raise SearchError(f"Ray stopped the search: {last_line(error)}") from error
            finally:
                with suppress(StoreError):  # otherwise the trials wait until the lease ends
                    ledger.put_back()
                cluster.close()
        if ledger.fault is not None:
            raise ledger.fault

    def compare(self) -> list[str]:
        """Evaluate the best trial, the baselines and the trivial baselines that ignore the image on the test split,
        once, and store the metrics. Returns a message for each trial that could not be evaluated."""
        summary = self.summary()
        if summary.states["RUNNING"] or summary.states["WAITING"]:
            return []
        try:
            dataset = open_dataset(self.config.base)
            check_content(self.store.config.get(CONTENT, {}), dataset.content, f"the study {self.config.name!r}")
        except DataError as error:  # the search itself is complete
            return [f"the trials have no test metrics: {error}"]
        if not len(dataset.splits["test"]):
            return []
        if NAIVE_ON_TEST not in self.store.config:
            baselines = trivial_baselines(dataset, self.config.base, "test", self.config.search.objectives)
            self.retry.insist(partial(self.store.note, NAIVE_ON_TEST, baselines))
        best = [] if summary.best is None else [summary.best]
        chosen = {trial.number: trial for trial in (*summary.front, *best, *summary.baselines.values())}
        problems: list[str] = []
        for number, trial in chosen.items():
            if trial.state != "COMPLETE" or self.retry.insist(partial(self.store.metrics, number, "test")):
                continue
            checkpoint = self.checkpoints.checkpoint(number)
            try:
                configuration = self.config.configuration(trial.params)
                metrics, _ = evaluate_checkpoint(configuration, checkpoint, "test", epochs=trial.epochs)
            except Exception as error:  # out of memory, or the checkpoint is missing
                if isinstance(error, WeightsearchError) and not isinstance(error, CheckpointError):
                    raise
                why = str(error) if isinstance(error, CheckpointError) else fault_line(error)
                problems.append(f"trial {number} has no test metrics: {why}")
            else:
                self.retry.insist(partial(self.writer.record_test, number, metrics))
        return problems

    def summary(self) -> StudySummary:
        """Results of the study so far."""
        return self.retry.insist(lambda: summarise(self.store))

    def export(self, *, wait: bool = True) -> Path | None:
        """Write the best configuration to the run folder. Returns None if no trial is COMPLETE. wait: wait while the
        database is unavailable; otherwise raise StoreUnavailable."""
        path = self.folder / "best.yaml"

        def best() -> str | None:
            summary = summarise(self.store)
            return None if summary.best is None else best_configuration(self.store, summary)

        text = self.retry.insist(best) if wait else best()
        if text is None:
            return None
        write_text(path, text)
        return path

    def close(self) -> None:
        self._exit.close()

    def _release(self) -> None:
        with suppress(StoreError):  # the database is unavailable: the lease ends by itself
            self.lease.release()
            self.store.remove_if_empty()  # a study whose first check failed can be changed and started again

    def _heard(self, event: Event) -> None:
        with suppress(StoreUnavailable):  # superfluous checkpoints are removed at the end of the next trial
            self.checkpoints(event)
            if event.kind in OUTCOMES.values():
                self.note()
        self.listener(event)

    def note(self, *, now: bool = False) -> None:
        """Write the study's notes if they are due; an error in them ends the notes, not the search. Raises
        StoreError."""
        if self.annotator is None:
            return
        try:
            self.annotator.study(self.writer, now=now)
        except WeightsearchError:
            raise
        except Exception as error:
            self.annotator = None
            self.listener(Event("note", reason=fault_line(error)))

    def _scratch(self) -> Path:
        """Folder for Ray Tune's files; folders of dead drivers are removed."""
        living = {holder.driver_id for holder in self.retry.insist(self.writer.others)}
        mine = f"ray-{self.store.uid}-"
        for left in self.folder.glob(f"{mine}*"):
            if left.name.removeprefix(mine) not in living:
                shutil.rmtree(left, ignore_errors=True)
        return self.folder / f"{mine}{self.lease.driver_id}"

    def _tune(self, ledger: Ledger, cluster: Cluster, trainable: type | None) -> None:
        from weightsearch.search.worker import Worker

        scratch = self._scratch()
        marker = scratch / "shared"
        write_text(marker, self.lease.driver_id)
        configuration = self.config.base.model_dump_json()
        cluster.ask_hosts(partial(missing_on_this_host, str(marker), configuration, self._folders))
        make_config = self._config_maker(cluster, marker)
        train_all(ledger, self.retry, cluster, trainable or Worker, scratch, make_config)

    @property
    def _folders(self) -> list[str]:
        """Folders of the user's code."""
        return [str(Path.cwd()), str(Path(self.config.yaml_source.source).absolute().parent)]

    def _config_maker(self, cluster: Cluster, marker: Path) -> Callable[[Assignment], dict[str, Any]]:
        gpus = cluster.resources["gpu"]
        began_with: Mapping[str, float] = self.store.config.get(CONTENT, {})

        def config(assignment: Assignment) -> dict[str, Any]:
            configuration = assignment.configuration
            resources = configuration.resources.model_copy(update={"gpus_per_trial": gpus})
            as_big = configuration.data.size == self.config.base.data.size
            log = log_path(self.folder, assignment.number)
            prepare_log(log, self.store.uid)
            return {
                "number": assignment.number,
                "configuration": configuration.model_copy(update={"resources": resources}).model_dump_json(),
                "failures": assignment.failures,
                "order": assignment.order,
                "checkpoint": str(self.checkpoints.checkpoint(assignment.number)),
                "content": dict(began_with) if as_big else of_any_size(began_with),
                "marker": str(marker),
                "plugin_path": self._folders,
                "on_a_cluster": cluster.address is not None,
                "log": str(log),
            }

        return config


def _how_to_go_on(ledger: Ledger) -> str:
    try:
        waiting = ledger.put_back()
    except StoreError as error:
        return f"stopped; resume from the last checkpoints with: {ledger.store.how_to_go_on()} ({error})"
    numbers = ", ".join(str(number) for number in waiting)
    what = {0: "the study", 1: f"trial {numbers} from its checkpoint"}.get(
        len(waiting), f"trials {numbers} from their checkpoints"
    )
    return f"stopped; resume {what} with: {ledger.store.how_to_go_on()}"


@contextmanager
def _folder_made(folder: Path) -> Iterator[None]:
    """Create the run folder; remove it again if it is new and the block inside fails. Raises SearchError if it cannot
    be written."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    _make_folder(folder)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another process has written into it
            for path in new:
                path.rmdir()
        raise


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SearchError(
            f"cannot write the run folder {folder}: {error.strerror or error}; name another with resources.run_dir"
        ) from error


def _open_store(config: StudyConfig, *, new: bool) -> StudyStore:
    """Open the study, or create it. Raises StoreError if the stored study has other settings."""
    made = stored_config(config)
    store = StudyStore.create(config.storage, config.name, list(config.search.objectives.values()), made, new=new)
    try:
        check_unchanged(store, made)
    except BaseException:
        store.close()
        raise
    return store


def check_unchanged(store: StudyStore, now: dict[str, Any]) -> None:
    """Raise StoreError if a study's trials were made from another configuration, space, objective or baseline."""
    changed = [line.removeprefix("tree.") for line in differences(flat(_compared(store.config)), flat(_compared(now)))]
    if changed:
        more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise StoreError(
            f"the study {store.study.study_name!r} in {store.database.name} was made with other settings: "
            f"{'; '.join(changed[:3])}{more}; undo the change, repeat the --set options of its first run, or start "
            "another study with --force-new NAME"
        )


def check_protocol(store: StudyStore, now: Mapping[str, Any]) -> None:
    """Raise StoreError if a study's trials were evaluated under another protocol. The same study file can have another
    protocol in another version, for example by a preset."""
    for row in store.states():
        before, _ = store.protocol_and_environment(row.number)
        common = {name: value for name, value in now.items() if name in before}
        changed = differences({name: before[name] for name in common}, common)
        if changed:
            raise StoreError(
                f"the trials of the study {store.study.study_name!r} in {store.database.name} were measured under "
                f"another protocol, by another version: {'; '.join(changed[:3])}; set it as it was in the section "
                "evaluation, in a study of its own (--force-new NAME)"
            )
        if before:
            return  # all trials of a study have the same protocol


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Part of a stored study that must not change: everything except resources and measurements of the dataset. The
    number of threads must not change, since float sums depend on it."""
    plain: dict[str, Any] = json.loads(json.dumps(config))
    threads = plain["tree"].pop("resources", {}).get("cpus_per_trial", 1)
    plain["tree"]["resources"] = {"cpus_per_trial": threads}
    plain["tree"].pop("analysis", None)
    for key in (UID, *MEASURED):
        plain.pop(key, None)
    return plain
