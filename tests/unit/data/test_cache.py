from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.seven_scenes import make_scene
from weightsearch.config import Configuration, load_configuration
from weightsearch.data.cache import CONTENT, open_frames
from weightsearch.data.dataset import changed_content, open_dataset
from weightsearch.data.sources.procedural import Procedural
from weightsearch.errors import DataError

WEIGHTED = "position-weighted mean of the"
CLOSED = ["loss.fractional.weight=1", "loss.consistency.weight=1"]


@pytest.fixture
def scene(tiny: Path, tmp_path: Path) -> Configuration:
    make_scene(tmp_path / "scene", 12)
    data = f"data={{name: seven_scenes, root: {tmp_path / 'scene'}, size: [24, 32], min_depth: 0.1, max_depth: 9}}"
    return load_configuration(tiny, [*CLOSED, data])


def arrays(folder: Path) -> set[Path]:
    return set(folder.glob("*/*/*.npy"))


def test_frames_are_decoded_once(scene, tmp_path):
    folder = tmp_path / "cache"
    calls: list[tuple[int, int]] = []
    first = open_frames(scene, folder=folder, progress=lambda *at: calls.append(at))
    assert calls == [(done, 12) for done in range(1, 13)]
    assert first.image.shape == (12, 24, 32, 3)
    assert first.image.dtype == np.uint8
    assert first.depth[3, 0, 0] == np.float32(1.003)
    assert isinstance(first.image, np.memmap)
    made = {path: path.stat().st_mtime_ns for path in arrays(folder)}
    calls.clear()
    open_frames(scene, folder=folder, progress=lambda *at: calls.append(at))
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in arrays(folder)} == made


def test_a_changed_source_is_read_again_and_its_old_cache_goes(scene, tmp_path):
    folder = tmp_path / "cache"
    open_frames(scene, folder=folder)
    before = arrays(folder)
    changed = Path(scene.data.root) / "seq-02" / "frame-000003.depth.png"
    Image.fromarray(np.full((48, 64), 4321, np.uint16)).save(changed)
    assert open_frames(scene, folder=folder).depth[3, 0, 0] == np.float32(4.321)
    assert len(arrays(folder)) == 6
    assert not arrays(folder) & before


def test_another_size_is_another_cache_and_other_depth_limits_are_not(scene, tmp_path):
    folder = tmp_path / "cache"
    open_frames(scene, folder=folder)
    other = scene.model_copy(update={"data": scene.data.model_copy(update={"max_depth": 3.0})})
    open_frames(other, folder=folder)
    assert len(arrays(folder)) == 6
    other = scene.model_copy(update={"data": scene.data.model_copy(update={"size": (16, 16)})})
    assert open_frames(other, folder=folder).depth.shape == (12, 16, 16)
    assert len(arrays(folder)) == 12


def test_a_damaged_cache_is_made_again(scene, tmp_path):
    folder = tmp_path / "cache"
    open_frames(scene, folder=folder)
    (victim,) = (path for path in arrays(folder) if path.name == "depth.npy")
    os.truncate(victim, 200)
    assert open_frames(scene, folder=folder).depth[5, 0, 0] == np.float32(1.005)


@pytest.mark.parametrize("name", ["image", "intrinsics", "pose"])
def test_an_array_of_another_shape_is_damage_too(scene, tmp_path, name):
    folder = tmp_path / "cache"
    whole = open_frames(scene, folder=folder)
    expected = np.array(getattr(whole, name))
    (victim,) = (path for path in arrays(folder) if path.name == f"{name}.npy")
    victim.unlink()
    np.save(victim, expected[:1])
    assert np.array_equal(getattr(open_frames(scene, folder=folder), name), expected)


def test_what_is_in_it_does_not_depend_on_where_the_files_lie(scene, tmp_path):
    first = open_frames(scene, folder=tmp_path / "one").content
    moved = shutil.copytree(scene.data.root, tmp_path / "moved")
    data = scene.data.model_copy(update={"root": str(moved)})
    assert np.array_equal(open_frames(scene.model_copy(update={"data": data}), folder=tmp_path / "two").content, first)
    victim = sorted(Path(moved).rglob("*.depth.png"))[0]
    Image.fromarray(np.full((48, 64), 3000, np.uint16)).save(victim)
    changed = open_frames(scene.model_copy(update={"data": data}), folder=tmp_path / "two").content
    assert changed.shape == first.shape == (12, len(CONTENT))
    assert np.flatnonzero((changed != first).any(axis=1)).tolist() == [0]
    assert changed[0, 0] == 1
    assert changed[0, 1] == pytest.approx(3)  # metres


def test_every_bad_frame_is_named_in_one_error(scene, tmp_path):
    sequence = Path(scene.data.root) / "seq-02"
    colour = sequence / "frame-000001.color.png"
    colour.write_bytes(colour.read_bytes()[:60])
    (sequence / "frame-000004.depth.png").unlink()
    for kind, shape in (("color", (20, 20, 3)), ("depth", (20, 20))):
        array = np.full(shape, 7, np.uint8 if kind == "color" else np.uint16)
        Image.fromarray(array).save(sequence / f"frame-000006.{kind}.png")
    with pytest.raises(DataError) as error:
        open_frames(scene, folder=tmp_path / "cache")
    text = str(error.value)
    assert "3 of 12 frames cannot be used" in text
    assert "frame-000001.color.png: " in text
    assert "frame-000004.depth.png: no such file" in text
    assert "frame-000006.color.png: 20x20 pixels, its video has 64x48" in text
    assert "\n" not in text
    assert not arrays(tmp_path / "cache")


BUILD = """
import sys
from pathlib import Path
from weightsearch.config import load_configuration
from weightsearch.data.cache import CONTENT, open_frames
configuration = load_configuration(Path(sys.argv[1]), sys.argv[3:])
print(float(open_frames(configuration, folder=Path(sys.argv[2])).depth.sum()))
"""


def test_two_processes_may_build_the_same_cache_at_once(tiny, tmp_path):
    command = [sys.executable, "-c", BUILD, str(tiny), str(tmp_path / "cache"), *CLOSED, "data.seed=99"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(printed)) == 1
    assert len(arrays(tmp_path / "cache")) == 6


def test_threads_too(tiny, tmp_path):
    configuration = load_configuration(tiny, [*CLOSED, "data.seed=98"])
    sums: list[float] = []
    threads = [
        threading.Thread(target=lambda: sums.append(float(open_frames(configuration, folder=tmp_path).depth.sum())))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sums) == 3
    assert len(set(sums)) == 1


def test_a_folder_that_cannot_be_written_is_one_line(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write the frame cache in .*; set WEIGHTSEARCH_CACHE"):
        open_frames(load_configuration(tiny, CLOSED), folder=tmp_path / "file")


def test_batches_have_the_units_they_say(scene, tmp_path):
    import torch

    make_scene(tmp_path / "longer", 20)
    changes = {"min_depth": 1.0015, "max_depth": 1.0045, "root": str(tmp_path / "longer")}
    scene = scene.model_copy(update={"data": scene.data.model_copy(update=changes)})
    dataset = open_dataset(scene, folder=tmp_path / "cache")
    batch = dataset.to_batch(dataset.gather(np.array([0, 2, 4, 5])), torch.device("cpu"))
    assert batch.image.shape == (4, 3, 24, 32)
    assert batch.image[1].unique().tolist() == pytest.approx([2 / 255])
    assert batch.depth[:, 0, 0, 0].tolist() == pytest.approx([1.0, 1.002, 1.004, 1.005])
    assert batch.valid.flatten(1).float().mean(1).tolist() == [0, 1, 1, 0]
    assert batch.intrinsics.dtype == torch.float32
    assert len(batch) == 4


def changed(scene, tmp_path, change):
    """The names of the content numbers of a noise scene that change with its files."""
    rng = np.random.default_rng(1)
    root = Path(scene.data.root) / "seq-02"
    for index in range(12):
        stem = root / f"frame-{index:06d}"
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(f"{stem}.color.png")
        Image.fromarray(rng.integers(500, 4000, (48, 64), dtype=np.uint16)).save(f"{stem}.depth.png")
    before = open_dataset(scene, folder=tmp_path / "cache").content
    change(root)
    now = open_dataset(scene, folder=tmp_path / "cache").content
    return [line.rpartition(" -> ")[0].rpartition(" ")[0] for line in changed_content(before, now)]


def mirrored(root):
    path = root / "frame-000009.depth.png"  # of validation
    Image.fromarray(np.asarray(Image.open(path))[:, ::-1].copy()).save(path)


def exchanged(root):
    one, other = root / "frame-000000.depth.png", root / "frame-000005.depth.png"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def moved(root):
    pose = np.eye(4)
    pose[0, 3] = 0.1
    (root / "frame-000002.pose.txt").write_text("\n".join("\t".join(map(str, row)) for row in pose))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (mirrored, [f"{WEIGHTED} validation depth"]),
        (exchanged, [f"{WEIGHTED} train depth"]),
        (moved, [f"{WEIGHTED} train pose"]),
    ],
)
def test_a_change_that_leaves_the_means_as_they_are_is_seen(scene, tmp_path, change, where):
    """Means alone do not change when a map is mirrored, two are exchanged, or a pose is another one."""
    split = scene.data.split.model_copy(update={"gap": 0})
    scene = scene.model_copy(update={"data": scene.data.model_copy(update={"size": (48, 64), "split": split})})
    assert [name for name in changed(scene, tmp_path, change) if not name.startswith("mean ")] == where


def test_true_depth_is_not_made_of_files_that_changed_after_the_frames_were_read(scene, tmp_path):
    """Else the truth at another size would lie beside the old frames, under the old files' fingerprint."""
    split = scene.data.split.model_copy(update={"gap": 0})
    scene = scene.model_copy(update={"data": scene.data.model_copy(update={"split": split})})
    dataset = open_dataset(scene, folder=tmp_path / "cache")
    path = Path(scene.data.root) / "seq-02" / "frame-000009.depth.png"
    Image.fromarray(np.full((48, 64), 4321, np.uint16)).save(path)
    with pytest.raises(DataError, match=r"files of the data set changed while they were read"):
        dataset.truth("validation", (40, 50))
    assert not list((tmp_path / "cache").rglob("truth*.npy"))
    truth = open_dataset(scene, folder=tmp_path / "cache").truth("validation", (40, 50))
    assert truth[1:2].unique().tolist() == [np.float32(4.321)]


def test_files_that_change_while_they_are_read_are_an_error(scene, tmp_path):
    first = Path(scene.data.root) / "seq-02" / "frame-000000.depth.png"

    def overwrite(done: int, _: int) -> None:
        if done == 12:
            Image.fromarray(np.full((48, 64), 4321, np.uint16)).save(first)

    with pytest.raises(DataError, match=r"changed while they were read: wait .* then give the same command again"):
        open_frames(scene, folder=tmp_path / "cache", progress=overwrite)
    assert open_frames(scene, folder=tmp_path / "cache").depth[0, 0, 0] == np.float32(4.321)


def test_flows_of_two_neighbours_that_are_exchanged_are_seen(tiny, tmp_path, monkeypatch):
    options = "scenes: 1, frames: 20, size: [16, 24], min_depth: 0.3, max_depth: 6.0, neighbours: [-1, 1]"
    sets = [f"data={{name: procedural, {options}, split: {{gap: 0}}}}", "loss.fractional.weight=1"]
    configuration = load_configuration(tiny, [*sets, "loss.consistency.weight=1"])
    before = open_dataset(configuration, folder=tmp_path / "a").content
    flow = Procedural.flow
    # Frames at a video's ends have one neighbour, so that only the frames between can exchange their flows.
    monkeypatch.setattr(
        Procedural,
        "flow",
        lambda self, video, index, offset: flow(self, video, index, -offset if index % 19 else offset),
    )
    now = open_dataset(configuration, folder=tmp_path / "b").content
    assert {line.split(" ")[5] for line in changed_content(before, now)} == {"flow"}
