"""A worker, without Ray, on data that differ from those that the study began with."""

from __future__ import annotations

import io
import json
import platform
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray.cloudpickle
from PIL import Image

from tests.helpers.seven_scenes import make_scene
from weightsearch.config import Configuration, load_configuration
from weightsearch.data.dataset import of_any_size, open_dataset
from weightsearch.errors import ChangedDataError, DataError, WriteError
from weightsearch.losses.terms.integer import Integer
from weightsearch.search.outbox import WorkerFailure
from weightsearch.search.ray_internals import TuneWorkers
from weightsearch.search.scheduler import LedgerScheduler
from weightsearch.search.trial_log import TrialLog, prepare_log
from weightsearch.search.worker import Worker

CLOSED = ["loss.fractional.weight=1", "loss.consistency.weight=1", "train.epochs=1", "analysis.budget=0"]


@pytest.fixture
def scene(tiny: Path, tmp_path: Path) -> Configuration:
    make_scene(tmp_path / "scene", 20)
    data = (
        f"data={{name: seven_scenes, root: {tmp_path / 'scene'}, size: [32, 48], min_depth: 0.1, max_depth: 6, "
        "split: {gap: 0}}"
    )
    return load_configuration(tiny, [*CLOSED, data])


def worker(configuration: Configuration, folder: Path, content: dict[str, float]) -> Worker:
    made = Worker.__new__(Worker)
    (folder / "trial").mkdir(exist_ok=True)
    marker = folder / "shared"
    marker.touch()
    made.setup(
        {
            "plugin_path": [],
            "on_a_cluster": True,
            "number": 0,
            "order": 0,
            "configuration": configuration.model_dump_json(),
            "content": json.loads(json.dumps(content)),
            "checkpoint": str(folder / "trial" / "checkpoint.pt"),
            "marker": str(marker),
            "log": str(folder / "logs" / "trial_0000.log"),
        }
    )
    return made


def depth_of(configuration: Configuration, index: int) -> Path:
    return Path(configuration.data.root) / "seq-02" / f"frame-{index:06d}.depth.png"


def test_the_data_of_the_study_s_beginning_are_trained_on(scene, tmp_path):
    assert worker(scene, tmp_path, open_dataset(scene).content).step()["done"]


def test_validation_depth_that_was_overwritten_is_refused_with_host_and_numbers(scene, tmp_path):
    began_with = open_dataset(scene).content
    for index in range(14, 17):
        Image.fromarray(np.full((48, 64), 2000, np.uint16)).save(depth_of(scene, index))
    with pytest.raises(ChangedDataError) as error:
        worker(scene, tmp_path, began_with).step()
    text = str(error.value)
    assert text.startswith(f"on the host {platform.node()} the data set is not the one that the study began with: ")
    assert "mean validation depth 1.015 -> 2, position-weighted mean of the validation depth " in text
    assert "train" not in text
    assert not (tmp_path / "trial" / "checkpoint.pt").exists()


@pytest.mark.parametrize(("change", "refused"), [("noise", True), ("quality", True), ("none", False)])
def test_pictures_that_were_changed_by_noise_or_compression_are_refused(scene, tmp_path, change, refused):
    """Their means stay: noise with a standard deviation of 3 of 255, JPEG of quality 75."""
    rng = np.random.default_rng(0)
    pictures = sorted(Path(scene.data.root).glob("seq-*/*.color.png"))
    assert len(pictures) == 20
    for path in pictures:
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(path)  # smooth, as photographs are
    began_with = open_dataset(scene).content
    for path in pictures:
        picture = Image.open(path).convert("RGB")
        if change == "noise":
            noisy = np.asarray(picture) + rng.normal(0, 3, (48, 64, 3))
            picture = Image.fromarray(np.clip(noisy, 0, 255).round().astype(np.uint8))
        elif change == "quality":
            packed = io.BytesIO()
            picture.save(packed, "JPEG", quality=75)
            picture = Image.open(packed)
        picture.save(path)
    if not refused:
        assert worker(scene, tmp_path, began_with).step()["done"]
        return
    with pytest.raises(ChangedDataError, match=r"mean difference of neighbouring pixels of the train images"):
        worker(scene, tmp_path, began_with).step()


def test_a_worker_that_is_told_to_end_ends(scene, tmp_path, monkeypatch):
    """Ray makes a SystemExit of SIGTERM, in the middle of whatever runs; one of the user's own is the trial's failure."""
    began_with = open_dataset(scene).content

    def ended(message):
        def call(*_):
            error = SystemExit(1)
            if message is not None:
                error.ray_terminate_msg = message
            raise error

        return call

    monkeypatch.setattr(Integer, "__call__", ended("exited because of SIGTERM"))
    with pytest.raises(SystemExit):
        worker(scene, tmp_path, began_with).step()
    monkeypatch.setattr(Integer, "__call__", ended(None))
    failed = worker(scene, tmp_path, began_with).step()
    assert failed["done"]
    assert "SystemExit: 1" in failed["failed"]


def test_another_number_of_frames_is_refused(scene, tmp_path):
    began_with = open_dataset(scene).content
    for path in depth_of(scene, 19).parent.glob("frame-000019*"):
        path.unlink()
    with pytest.raises(ChangedDataError, match=r"train frames 14 -> 13"):
        worker(scene, tmp_path, began_with).step()


def test_a_frame_that_is_away_is_raised_and_does_not_fail_the_trial(scene, tmp_path):
    began_with = open_dataset(scene).content
    depth_of(scene, 3).unlink()
    with pytest.raises(DataError, match=r"^on the host \S+: .*frame-000003.depth.png: no such file"):
        worker(scene, tmp_path, began_with).step()


def test_a_data_set_that_is_away_is_too(scene, tmp_path):
    began_with = open_dataset(scene).content
    Path(scene.data.root).rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"^on the host \S+: .*scene has no folder seq-\*"):
        worker(scene, tmp_path, began_with).step()


def test_weights_that_are_away_are_too(scene, tmp_path):
    began_with = open_dataset(scene).content
    model = scene.model.model_copy(update={"weights": str(tmp_path / "gone.safetensors")})
    away = scene.model_copy(update={"model": model})
    with pytest.raises(DataError, match=r"^on the host \S+: model\.weights is away: no such file: .*gone\.safetensors"):
        worker(away, tmp_path, began_with).step()


def test_a_run_folder_that_went_away_in_mid_trial_is_no_fault_of_the_trial(scene, tmp_path):
    longer = scene.model_copy(update={"train": scene.train.model_copy(update={"epochs": 2})})
    made = worker(longer, tmp_path, open_dataset(scene).content)
    made.step()
    (tmp_path / "trial").rename(tmp_path / "gone")
    with pytest.raises(WriteError, match=r"^on the host \S+: cannot read .*attempt: No such file or directory"):
        made.step()


def test_a_checkpoint_that_cannot_be_read_is_no_fault_of_the_trial(scene, tmp_path):
    made = worker(scene, tmp_path, open_dataset(scene).content)
    (tmp_path / "trial" / "checkpoint.pt").mkdir()
    with pytest.raises(WriteError, match=r"cannot read the checkpoint .*checkpoint\.pt: Is a directory"):
        made.step()


def test_another_size_of_the_pictures_is_the_same_data(scene, tmp_path):
    """If the size is a search parameter, data are compared by the numbers that do not depend on it."""
    began_with = open_dataset(scene).content
    smaller = scene.model_copy(update={"data": scene.data.model_copy(update={"size": (32, 32)})})
    assert worker(smaller, tmp_path, of_any_size(began_with)).step()["done"]
    Image.fromarray(np.full((48, 64), 2000, np.uint16)).save(depth_of(scene, 15))
    with pytest.raises(ChangedDataError, match="position-weighted mean of the validation depth "):
        worker(smaller, tmp_path, of_any_size(began_with)).step()


@pytest.mark.parametrize("error", [WriteError("no room"), DataError("no frame"), ChangedDataError("other frames")])
@pytest.mark.parametrize(("left", "one_host"), [(True, False), (False, False), (True, True)])
def test_the_last_attempt_at_data_that_are_away_stops_the_study(tmp_path, error, left, one_host):
    """On a cluster a full disk and missing data are retried while attempts are left; then the study stops and the trial
    waits. On one machine they stop it at once, and so do data that changed: another attempt would read the same."""
    file = tmp_path / "error"
    file.write_bytes(ray.cloudpickle.dumps(error))
    log = tmp_path / "trial.log"
    prepare_log(log, "abc")
    TrialLog(log)
    put: list[WorkerFailure] = []

    class Noting:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    ledger = SimpleNamespace(noting_faults=Noting, next_order=lambda: 7)
    outbox = SimpleNamespace(ledger=ledger, put=put.append)
    scheduler = LedgerScheduler(outbox, TuneWorkers(), max_failures=2, one_host=one_host)
    trial = SimpleNamespace(
        trial_id="one",
        config={"number": 4, "failures": 0, "order": 1, "log": str(log)},
        should_recover=lambda: left,
        status="RUNNING",
        num_failures=1,
        pickled_error_file=str(file),
    )
    scheduler.on_trial_error(None, trial)
    (message,) = put
    stops = one_host or not left or isinstance(error, ChangedDataError)
    reason = str(error) if stops else f"{error}; log: {log}"
    assert (message.number, message.reason, message.stops) == (4, reason, stops)
