from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsearch.errors import TrialFailure
from weightsearch.metrics.odometry_metrics import OdometryMetrics

NAMES = ("ate", "rpe_rot", "rpe_dir", "t_err", "r_err")


def rotation(*degrees: float) -> np.ndarray:
    """The rotation matrix of an axis-angle."""
    x, y, z = np.deg2rad(degrees)
    return torch.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)).numpy()


def rigid(turn: np.ndarray, move) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, move
    return matrix


def path(seed: int, frames: int, metres: float = 1.0, degrees: float = 2.0) -> np.ndarray:
    """Camera to world of a camera that drives forwards and turns, from anywhere in the world, [frames, 4, 4]."""
    rng = np.random.default_rng(seed)
    poses = [rigid(rotation(*rng.normal(0, 60, 3)), rng.normal(0, 50, 3))]
    for _ in range(frames - 1):
        turn, move = rng.normal(0, degrees, 3), rng.normal([0, 0, 1], [0.1, 0.1, 0.3])
        poses.append(poses[-1] @ rigid(rotation(*turn), metres * move))
    return np.stack(poses)


def steps_of(poses: np.ndarray) -> np.ndarray:
    """Camera to world -> from each frame's camera to the next one's, [N - 1, 4, 4]."""
    return np.linalg.inv(poses[1:]) @ poses[:-1]


def disturbed(steps: np.ndarray, seed: int, scale: float = 1.0, degrees: float = 1.0, share: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng([seed, 1])
    result = steps.copy()
    for step in result:
        step[:3, :3] = rotation(*rng.normal(0, degrees, 3)) @ step[:3, :3]
        step[:3, 3] = scale * (step[:3, 3] + share * np.linalg.norm(step[:3, 3]) * rng.normal(0, 1, 3))
    return result


def scaled(steps: np.ndarray, factor: float) -> np.ndarray:
    result = steps.copy()
    result[:, :3, 3] *= factor
    return result


def measure(predicted, truth, places=None, batch: int = 3) -> dict[str, float]:
    places = [(0, index) for index in range(len(truth))] if places is None else places
    metrics = OdometryMetrics("validation")
    for start in range(0, len(truth), batch):
        part = slice(start, start + batch)
        metrics.update(torch.as_tensor(predicted[part]), torch.as_tensor(truth[part]), places[part])
    return metrics.compute()


def world(steps: np.ndarray) -> list[np.ndarray]:
    """Steps -> camera to world, of a world that is where the last camera is: the other way round than the program."""
    poses = [np.eye(4)]
    for step in steps[::-1]:
        poses.insert(0, poses[0] @ step)
    return poses


def zhou(predicted: np.ndarray, truth: np.ndarray, frames: int = 5) -> float:
    """Snippets as SfMLearner's evaluation takes them, from camera to world of whole videos."""
    found = []
    for start in range(len(truth) - frames + 1):
        xyz = []
        for poses in (predicted, truth):
            rest = np.linalg.inv(poses[start])
            xyz.append([rest[:3, :3] @ pose[:3, 3] + rest[:3, 3] for pose in poses[start : start + frames]])
        guess, true = (np.array(positions) for positions in xyz)
        scale = max(0, np.sum(true * guess) / np.sum(guess**2))
        found.append(math.sqrt(sum(((scale * a - b) ** 2).sum() for a, b in zip(guess, true, strict=True))) / frames)
    return float(np.mean(found))


def kitti(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """As KITTI's development kit goes about it, in percent and degrees per 100 m, from camera to world."""
    origins = [[np.linalg.inv(poses[0]) @ pose for pose in poses] for poses in (predicted, truth)]
    guess, true = (np.array([pose[:3, 3] for pose in poses]) for poses in origins)
    factor = np.linalg.lstsq(guess.reshape(-1, 1), true.reshape(-1), rcond=None)[0][0]
    distances = [0.0]
    for before, after in pairwise(truth):
        distances.append(distances[-1] + math.dist(before[:3, 3], after[:3, 3]))
    translation, turn = [], []
    for first in range(0, len(truth), 10):
        for length in (100, 200, 300, 400, 500, 600, 700, 800):
            last = next((i for i in range(first, len(truth)) if distances[i] > distances[first] + length), None)
            if last is None:
                continue
            delta_guess = np.linalg.inv(predicted[first]) @ predicted[last]
            delta_guess[:3, 3] *= factor
            error = np.linalg.inv(delta_guess) @ (np.linalg.inv(truth[first]) @ truth[last])
            translation.append(np.linalg.norm(error[:3, 3]) / length)
            turn.append(math.acos(min(max((np.trace(error[:3, :3]) - 1) / 2, -1), 1)) / length)
    return 100 * float(np.mean(translation)), 100 * math.degrees(np.mean(turn))


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), frames=st.integers(5, 20), scale=st.floats(0.01, 100))
def test_ate_is_that_of_an_independent_implementation(seed, frames, scale):
    poses = path(seed, frames)
    guess = disturbed(steps_of(poses), seed, scale)
    found = measure(guess, steps_of(poses))
    assert found["ate"] == pytest.approx(zhou(world(guess), poses), rel=1e-6)
    assert set(found) == {"ate", "rpe_rot", "rpe_dir"}  # no 100 metres


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kitti_s_errors_are_those_of_an_independent_implementation(seed):
    poses = path(seed, 900, degrees=0.5)
    guess = disturbed(steps_of(poses), seed, 0.3, degrees=0.1)
    found = measure(guess, steps_of(poses), batch=64)
    t_err, r_err = kitti(world(guess), poses)
    assert found["t_err"] == pytest.approx(t_err, rel=1e-6)
    assert found["r_err"] == pytest.approx(r_err, rel=1e-6)
    assert found["ate"] == pytest.approx(zhou(world(guess), poses), rel=1e-6)
    assert t_err > 1
    assert r_err > 0.1


def test_steps_are_compared_as_an_independent_implementation_does():
    truth = steps_of(path(5, 40))
    guess = disturbed(truth, 5, 3.0, degrees=20)
    found = measure(guess, truth)
    turns = [math.acos((np.trace(p[:3, :3].T @ t[:3, :3]) - 1) / 2) for p, t in zip(guess, truth, strict=True)]
    pairs = [(p[:3, 3], t[:3, 3]) for p, t in zip(guess, truth, strict=True)]
    ways = [math.acos(p @ t / np.linalg.norm(p) / np.linalg.norm(t)) for p, t in pairs]
    assert found["rpe_rot"] == pytest.approx(math.degrees(np.mean(turns)), rel=1e-9)
    assert found["rpe_dir"] == pytest.approx(math.degrees(np.mean(ways)), rel=1e-9)


def test_a_perfect_prediction_is_off_by_nothing():
    truth = steps_of(path(3, 300))
    found = measure(truth, truth)
    assert set(found) == set(NAMES)
    assert found == pytest.approx(dict.fromkeys(NAMES, 0), abs=1e-6)
    rounded = measure(truth.astype(np.float32), truth)  # as a network predicts; by the trace alone 0.02 degrees
    assert rounded["rpe_rot"] < 1e-5
    assert rounded["rpe_dir"] < 1e-5


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), factor=st.floats(1e-3, 1e3))
def test_the_scale_of_the_whole_prediction_does_not_matter(seed, factor):
    truth = steps_of(path(seed, 160))
    guess = disturbed(truth, seed)
    assert measure(scaled(guess, factor), truth) == pytest.approx(measure(guess, truth), rel=1e-6)


def test_a_scale_that_drifts_does_matter():
    truth = steps_of(path(3, 200, degrees=0.1))
    guess = truth.copy()
    guess[100:, :3, 3] *= 2
    found = measure(guess, truth)
    assert found["t_err"] > 10
    assert 0 < found["ate"] < 0.1  # of the three snippets around the change alone
    assert found["r_err"] == pytest.approx(0, abs=1e-9)
    assert found["rpe_dir"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("degrees", [1e-6, 0.01, 2.0, 90.0, 179.9, 180.0])
def test_a_constant_rotation_error_is_exactly_that_many_degrees(degrees):
    truth = steps_of(path(6, 30))
    guess = truth.copy()
    guess[:, :3, :3] = rotation(*(degrees * np.array([0.6, 0, 0.8]))) @ truth[:, :3, :3]
    assert measure(guess, truth)["rpe_rot"] == pytest.approx(degrees, rel=1e-6)


@pytest.mark.parametrize("degrees", [1e-5, 3.0, 80.0, 90.0, 120.0])
def test_a_constant_error_of_direction_straight_ahead(degrees):
    """151 frames a metre apart: 100 m end after 101 steps, from the frames 0, 10, 20, 30 and 40."""
    truth = np.stack([rigid(np.eye(3), [0, 0, -1])] * 150)
    guess = truth.copy()
    guess[:, :3, 3] = 7 * truth[:, :3, 3] @ rotation(0, degrees, 0).T
    found = measure(guess, truth)
    sine = math.sin(math.radians(min(degrees, 90)))  # what the best factor, if it is above 0, leaves of a metre
    assert found["rpe_dir"] == pytest.approx(degrees, rel=1e-6)
    assert found["ate"] == pytest.approx(sine * math.sqrt(1 + 4 + 9 + 16) / 5, rel=1e-6)
    assert found["t_err"] == pytest.approx(101 * sine, rel=1e-6)
    assert (found["rpe_rot"], found["r_err"]) == (0, 0)


def test_a_constant_error_of_rotation_straight_ahead():
    truth = np.stack([rigid(np.eye(3), [0, 0, -1])] * 150)
    guess = rigid(rotation(0, 0.01, 0), [0, 0, 0]) @ truth
    found = measure(guess, truth)
    assert found["r_err"] == pytest.approx(0.01 * 101, rel=1e-9)
    assert found["rpe_rot"] == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize("degrees", [0.0, 2.0])
def test_steps_the_wrong_way_round_are_wrong(degrees):
    """From the next frame to this one: on a straight way, too, where a factor below 0 would make it right."""
    truth = steps_of(path(7, 300, degrees=degrees))
    found = measure(np.linalg.inv(truth), truth)
    right = measure(disturbed(truth, 7), truth)
    assert found["rpe_dir"] > 170
    assert found["ate"] > 0.99  # metres, as of no motion at all: the root of 30, by 5
    assert found["t_err"] > 80
    assert all(found[name] > 2 * right[name] for name in ("ate", "rpe_dir", "t_err"))
    if degrees:
        assert found["rpe_rot"] > 2 * right["rpe_rot"]
        assert found["r_err"] > 10


def test_rotations_the_wrong_way_round_alone_are_wrong():
    truth = steps_of(path(7, 300, degrees=5))
    turned = truth.copy()
    turned[:, :3, :3] = np.swapaxes(truth[:, :3, :3], 1, 2)
    found = measure(turned, truth)
    assert found["rpe_rot"] > 10
    assert found["rpe_dir"] == pytest.approx(0, abs=1e-5)
    assert found["ate"] > 0.05
    assert found["t_err"] > 20


def test_a_step_without_truth_cuts_the_chain():
    truth = steps_of(path(8, 260))
    guess = disturbed(truth, 8)
    holes = truth.copy()
    holes[130] = np.nan
    wild = guess.copy()
    wild[130] = rigid(rotation(0, 100, 0), [1e6, -1e6, 0])
    apart = [(0, index) for index in range(130)] + [(1, index) for index in range(129)]
    keep = np.arange(259) != 130
    assert measure(wild, holes) == measure(guess, holes) == measure(guess[keep], truth[keep], apart)
    assert measure(guess, holes)["t_err"] != pytest.approx(measure(guess, truth)["t_err"], rel=1e-3)
    holes[60] = holes[200] = np.nan  # no chain of 100 metres any more
    assert set(measure(guess, holes)) == {"ate", "rpe_rot", "rpe_dir"}
    one_number = truth.copy()
    one_number[130, 0, 3] = np.nan
    holes[[60, 200]] = truth[[60, 200]]
    assert measure(guess, one_number) == measure(guess, holes)


def test_indices_that_do_not_follow_one_another_cut_the_chain():
    truth = steps_of(path(9, 9))
    guess = disturbed(truth, 9)
    gap = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 5), (0, 6), (0, 7), (0, 8)]
    two = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    follow = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (1, 6), (1, 7)]  # an index of another video
    assert measure(guess, truth, gap) == measure(guess, truth, two) == measure(guess, truth, follow)
    halves = [zhou(world(guess[part]), world(truth[part])) for part in (slice(4), slice(4, 8))]
    assert measure(guess, truth, gap)["ate"] == pytest.approx(np.mean(halves), rel=1e-9)


def test_order_and_batches_do_not_matter():
    truth = steps_of(path(10, 140))
    guess = disturbed(truth, 10)
    places = [(index % 2, index // 2) for index in range(139)]
    order = np.random.default_rng(0).permutation(139)
    expected = measure(guess, truth, places, batch=139)
    assert measure(guess[order], truth[order], [places[i] for i in order], batch=7) == pytest.approx(
        expected, rel=1e-12
    )
    assert measure(guess, truth)["ate"] != pytest.approx(expected["ate"], rel=1e-3)


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_a_shorter_video_is_one_snippet(frames):
    truth = steps_of(path(11, frames))
    guess = disturbed(truth, 11)
    expected = zhou(world(guess), world(truth), frames)
    assert measure(guess, truth)["ate"] == pytest.approx(expected, rel=1e-9)
    longer = steps_of(path(12, 5))
    both = measure(
        np.concatenate([guess, longer]),
        np.concatenate([truth, longer]),
        [(0, index) for index in range(frames - 1)] + [(1, index) for index in range(4)],
    )
    assert both["ate"] == pytest.approx(expected / 2, rel=1e-9)


def test_two_frames_leave_the_part_across_the_true_direction():
    truth = np.stack([rigid(np.eye(3), [0, 0, -2])])
    guess = np.stack([rigid(np.eye(3), [-3, 0, -3])])
    assert measure(guess, truth)["ate"] == pytest.approx(math.sqrt(2) / 2)


def test_exactly_100_metres_are_not_enough():
    truth = np.stack([rigid(np.eye(3), [0, 0, -1])] * 101)
    assert "t_err" not in measure(truth[:100], truth[:100])
    assert measure(truth, truth)["t_err"] == pytest.approx(0, abs=1e-9)


def test_a_camera_that_stands_has_no_direction():
    truth = steps_of(path(13, 12))
    guess = disturbed(truth, 13)
    expected = measure(guess[:6], truth[:6])["rpe_dir"]
    truth[6:, :3, 3] *= 1e-7 / np.linalg.norm(truth[6:, :3, 3], axis=1, keepdims=True)
    assert measure(guess, truth)["rpe_dir"] == pytest.approx(expected, rel=1e-9)
    assert set(measure(guess[6:], truth[6:])) == {"rpe_rot"}


def test_a_camera_that_only_stands_has_no_trajectory_to_be_wrong_about():
    """By the published formula the factor is 0 and so is the error of every prediction: no result at all."""
    truth = np.stack([np.eye(4)] * 8)
    guess = steps_of(path(15, 9))
    assert "ate" not in measure(guess, truth)
    truth[3, 2, 3] = -1.0
    assert measure(guess, truth)["ate"] == pytest.approx(zhou(world(guess), world(truth)), rel=1e-9)


def test_a_prediction_of_no_motion_is_not_rewarded():
    truth = np.stack([rigid(np.eye(3), [0, 0, -1])] * 150)
    found = measure(np.stack([np.eye(4)] * 150), truth)
    assert found["rpe_dir"] == 90
    assert found["ate"] == pytest.approx(math.sqrt(30) / 5)
    assert found["t_err"] == pytest.approx(101)


def test_nothing_known_gives_nothing():
    truth = steps_of(path(14, 8))
    assert measure(truth, np.full_like(truth, np.nan)) == {}
    assert OdometryMetrics("test").compute() == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("column", [1, 3])
def test_a_prediction_that_is_not_finite_fails_loudly_even_where_nobody_looks(bad, row, column):
    truth = steps_of(path(15, 8))
    guess = truth.copy()
    guess[4, row, column] = bad
    truth[4] = np.nan
    with pytest.raises(TrialFailure, match="the validation predictions of the camera's motion are not finite"):
        measure(guess, truth)


def test_steps_without_a_place_are_refused():
    truth = torch.eye(4).expand(3, 4, 4)
    with pytest.raises(ValueError, match="3 predicted and 3 true steps of 2 frames"):
        OdometryMetrics("test").update(truth, truth, [(0, 0), (0, 1)])


def test_on_a_real_path(data_root):
    """Kinect's path through a kitchen, in 32 bits as a network sees it."""
    from weightsearch.data.sources.seven_scenes import SevenScenes

    source = SevenScenes(root=data_root / "7scenes" / "redkitchen", stride=10)
    poses = np.stack([source.read(0, index).pose for index in range(20)])
    truth = steps_of(poses)
    guess = disturbed(truth, 16, 5.0, degrees=0.3)
    found = measure(guess.astype(np.float32), truth.astype(np.float32))
    assert found["ate"] == pytest.approx(zhou(world(guess), poses), rel=1e-4)
    assert 0.001 < found["ate"] < 0.1
    assert 0.2 < found["rpe_rot"] < 0.8
    perfect = measure(scaled(truth, 0.2).astype(np.float32), truth.astype(np.float32))
    assert perfect == pytest.approx({"ate": 0, "rpe_rot": 0, "rpe_dir": 0}, abs=1e-4)
