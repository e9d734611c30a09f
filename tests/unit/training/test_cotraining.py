"""Depth, odometry and flow in the one training loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.video import CPU, batch_of, configuration, dataset
from weightsearch.data.dataset import relative_poses
from weightsearch.errors import ConfigError, DataError, ModelError, OptionError
from weightsearch.evaluation import naive
from weightsearch.evaluation.evaluate import evaluate
from weightsearch.evaluation.naive import naive_metrics
from weightsearch.evaluation.predictions import frame_names
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.evaluation.scores import Predicted, check_measurable, score
from weightsearch.geometry.warp import warp
from weightsearch.metrics import depth_metrics
from weightsearch.metrics.odometry_metrics import OdometryMetrics
from weightsearch.metrics.registry import METRICS
from weightsearch.records import DELTA_BINS, EpochRecord, parts, rows_at
from weightsearch.runtime.checkpoint import essentials
from weightsearch.runtime.device import choose_precision
from weightsearch.runtime.network import predict
from weightsearch.training.loop import Trainer
from weightsearch.training.preflight import preflight
from weightsearch.training.probe import Account

RIGID = ("photometric_rigid", "epipolar")  # the terms that go by depth and pose
ODOMETRY = {"ate", "rpe_rot", "rpe_dir"}
FLOW = {f"{name}{region}" for name in ("epe", "epe_noc", "f1_noc") for region in ("", "_static", "_moving")} | {
    "f1_all",
    "f1_static",
    "f1_moving",
}


def trainer(folder, *overrides: str) -> Trainer:
    data = dataset(folder, *overrides)
    return Trainer(data.configuration, data, CPU)


def share_kept(record: EpochRecord) -> float:
    return record.measurements["rebalancing"]["kept"]


def shared_norms(record: EpochRecord) -> dict[str, float]:
    return rows_at(record.sampled["gradient"], "shared")


def test_an_epoch_measures_depth_odometry_and_flow(tmp_path):
    record = trainer(tmp_path).train_epoch()
    assert set(record.metrics) == {
        *(metric.name for metric in depth_metrics.METRICS),
        "scale",
        "scale_std",
        *ODOMETRY,
        *FLOW,
    }
    assert set(record.metrics) - {"scale", "scale_std"} <= set(METRICS)
    rebalancing, delta = record.measurements["rebalancing"], record.measurements["delta"]
    assert rebalancing["moving_known"] == 1
    assert 0 < rebalancing["kept"] <= 1
    assert {int(parts(name)[1]) for name in delta} <= set(range(DELTA_BINS))
    assert sum(rows_at(delta, "moving").values()) > 0
    assert EpochRecord.from_plain(record.to_plain()) == record


def test_a_training_whose_mask_leaves_nothing_says_so(tmp_path):
    """No pixel's Delta lies within 1e-12 of its mode: depth and pose learn nothing, and 0 is no result."""
    record = trainer(tmp_path, "rebalance.method=neighbourhood", "rebalance.eta=1e-12").train_epoch()
    rigid = [name for name in record.terms if name in RIGID]
    assert record.measurements["without_pixels"] == dict.fromkeys(rigid, record.steps)
    assert [name for name, term in record.terms.items() if math.isnan(term.value)] == rigid
    assert math.isfinite(record.train_loss)
    assert [warning.split("'")[1] for warning in record.warnings] == rigid
    again = EpochRecord.from_plain(record.to_plain())
    assert again.measurements["without_pixels"] == record.measurements["without_pixels"]


def test_a_resumed_training_is_the_undisturbed_one_bit_for_bit(tmp_path):
    options = ("train.start_epochs={depth: 2}", "rebalance.method=one_sided", "augmentation.mirror=0.5")
    whole = trainer(tmp_path, *options)
    expected = [whole.train_epoch() for _ in range(2)]
    first = trainer(tmp_path, *options)
    first.train_epoch()
    first.save(tmp_path / "checkpoint.pt")
    second = trainer(tmp_path, *options)
    second.resume(tmp_path / "checkpoint.pt")
    second.train_epoch()
    assert [replace(one, seconds=0) for one in second.history] == [replace(one, seconds=0) for one in expected]
    for one, other in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


def numbers(part: torch.nn.Module) -> list[torch.Tensor]:
    return [value.detach().clone() for value in part.state_dict().values()]


def test_a_part_begins_to_learn_at_its_epoch(tmp_path):
    found = trainer(tmp_path, "train.epochs=3", "train.start_epochs={depth: 2, pose: 3}", "rebalance=null")
    parts = {name: getattr(found.network, name) for name in ("depth", "pose", "flow")}
    learned = []
    for _ in range(3):
        before = {name: numbers(part) for name, part in parts.items()}
        found.train_epoch()
        learned.append(
            {
                name
                for name, part in parts.items()
                if not all(torch.equal(a, b) for a, b in zip(before[name], numbers(part), strict=True))
            }
        )
    assert learned == [{"flow"}, {"flow", "depth"}, {"flow", "depth", "pose"}]


def test_a_frozen_encoder_stays_frozen_when_its_part_begins_to_learn(tmp_path):
    found = trainer(tmp_path, "train.start_epochs={depth: 2}", "train.freeze_encoder=true")
    before = numbers(found.network.depth.encoder)
    found.train_epoch()
    found.train_epoch()
    assert all(torch.equal(a, b) for a, b in zip(before, numbers(found.network.depth.encoder), strict=True))


def test_parts_are_named_and_something_must_learn(tmp_path):
    data = dataset(tmp_path, "train.start_epochs={dept: 2}")
    with pytest.raises(ModelError, match=r"train\.start_epochs: the network has no part 'dept'; did you mean 'depth'"):
        preflight(data.configuration, data)
    with pytest.raises(ConfigError, match=r"train\.start_epochs\.depth: would begin at epoch 3 of 2"):
        configuration(tmp_path, "train.start_epochs={depth: 3}")
    with pytest.raises(ModelError, match="nothing learns in epoch 1"):
        trainer(tmp_path, "train.start_epochs={depth: 2, pose: 2, flow: 2}").train_epoch()


def test_rebalancing_decides_what_depth_learns_from(tmp_path):
    """With hardly a pixel kept depth learns something else, from a smaller gradient; flow learns the same, to the
    bit."""
    with_all = trainer(tmp_path, "rebalance={method: none}")
    with_few = trainer(tmp_path, "rebalance={method: neighbourhood, eta: 1.0e-12}")
    kept, none = with_all.train_epoch(), with_few.train_epoch()
    assert share_kept(kept) == 1
    assert share_kept(none) < 0.01
    assert none.terms["photometric_rigid"].gradient < 0.5 * kept.terms["photometric_rigid"].gradient
    for part, same in {"flow": True, "depth": False}.items():
        pairs = zip(numbers(getattr(with_all.network, part)), numbers(getattr(with_few.network, part)), strict=True)
        assert all(torch.equal(*pair) for pair in pairs) is same
    warm = trainer(tmp_path, "rebalance={method: neighbourhood, eta: 1.0e-12, warmup_epochs: 1}")
    first, second = warm.train_epoch(), warm.train_epoch()
    assert (share_kept(first), share_kept(second) < 0.01) == (1, True)
    assert first.terms == kept.terms


def test_probes_measure_the_shared_parameters_while_a_part_waits(tmp_path):
    found = trainer(tmp_path, "analysis.budget=1.0", "train.start_epochs={depth: 2}")
    waiting, learning = found.train_epoch(), found.train_epoch()
    assert waiting.problem is None
    assert learning.problem is None
    assert "photometric_flow" in shared_norms(waiting)


def test_the_truth_scores_as_the_truth(tmp_path):
    data = dataset(tmp_path)
    protocol = protocol_of(data.configuration, "validation")
    truth = data.truth("validation", protocol.size)

    def right(batch, here):
        return Predicted(truth[here].clamp(min=2.0), batch.neighbours.pose, batch.motion.flow.nan_to_num())

    found = score(data, "validation", protocol, CPU, 2, right)
    for name in ("abs_rel", "abs_rel_static", "abs_rel_moving", *ODOMETRY, "epe", "f1_all"):
        assert found[name] == pytest.approx(0, abs=1e-3), name
    assert found["a1"] == 1


@pytest.mark.parametrize("offsets", ["[-2, 2]", "[2, -1]", "[3]"])
def test_odometry_is_chained_over_the_smallest_step_ahead(tmp_path, offsets):
    """Steps of twice and three times the length: a camera that is said to stand is off by as much."""
    data = dataset(
        tmp_path, f"data.neighbours={offsets}", "data.frames=40", "data.variety=indoor", "data.min_depth=0.3"
    )
    protocol = protocol_of(data.configuration, "validation")
    right = score(data, "validation", protocol, CPU, 4, lambda batch, _: Predicted(poses=batch.neighbours.pose))
    assert right["ate"] == pytest.approx(0, abs=1e-5)
    step, order = min(o for o in data.offsets if o > 0), data.splits["validation"]
    wrong = torch.eye(4).repeat(len(order), len(data.offsets), 1, 1)
    wrong[..., :3, 3] = torch.randn(len(order), len(data.offsets), 3, generator=torch.Generator().manual_seed(0))
    by_hand = OdometryMetrics("validation")
    column = data.offsets.index(step)
    for row, (index, (video, place)) in enumerate(zip(order, data.places(order), strict=True)):
        true = relative_poses(data.frames.pose[index][None], data.frames.pose[index + step][None, None])[0]
        chain = f"{video} {place % step}"  # a video of its own
        by_hand.update(wrong[row : row + 1, column], torch.from_numpy(true), [(chain, place // step)])
    noisy = score(data, "validation", protocol, CPU, 4, lambda _, here: Predicted(poses=wrong[here]))
    assert noisy["ate"] == pytest.approx(by_hand.compute()["ate"], rel=1e-6)
    found = naive_metrics(data, "validation", protocol, 4)
    first, second = (data.frames.pose[order + shift] for shift in (0, step))
    relative = np.linalg.inv(second) @ first
    angles = [np.rad2deg(np.arccos((np.trace(one[:3, :3]) - 1) / 2)) for one in relative]
    assert found["zero_motion"]["rpe_rot"] == pytest.approx(np.mean(angles), rel=1e-3)


def test_naive_predictors_are_what_they_say(tmp_path):
    data = dataset(tmp_path, "data.frames=40", "data.variety=indoor", "data.min_depth=0.3", "data.pace=2")
    protocol = protocol_of(data.configuration, "validation")
    found = naive_metrics(data, "validation", protocol, 4)
    assert list(found) == ["constant_depth", "mean_depth", "zero_motion", "mean_motion", "last_motion", "zero_flow"]
    assert found["mean_depth"]["abs_rel"] < found["constant_depth"]["abs_rel"]
    assert found["last_motion"]["ate"] < found["mean_motion"]["ate"] <= found["zero_motion"]["ate"]
    flow = data.frames.flow[data.splits["validation"]]
    assert found["zero_flow"]["epe"] == pytest.approx(float(np.nanmean(np.hypot(flow[..., 0], flow[..., 1]))), rel=1e-5)
    truth = data.frames.depth[data.splits["validation"]].astype(np.float64)
    expected = []
    for frame in truth:
        valid = (frame > 0.3) & (frame < 80)
        expected.append(np.mean(np.abs(np.median(frame[valid]) - frame[valid]) / frame[valid]))
    assert found["constant_depth"]["abs_rel"] == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_metric_whose_truth_is_missing_is_told_before_anything_is_trained(tmp_path):
    data = dataset(tmp_path)
    protocol = protocol_of(data.configuration, "validation")
    check_measurable(data, "validation", protocol, ["depth", "pose", "flow"], ["abs_rel", "ate", "epe"])
    with pytest.raises(DataError, match="epe cannot be measured on the validation split"):
        check_measurable(data, "validation", protocol, ["depth", "pose"], ["abs_rel", "epe"])
    with pytest.raises(DataError, match="t_err cannot be measured"):  # no video is 100 m long
        preflight(data.configuration, data, ["t_err"])
    preflight(data.configuration, data, ["abs_rel", "ate", "epe"])
    stopped = dataset(tmp_path, "train.early_stopping={patience: 1, metric: r_err}")
    with pytest.raises(DataError, match="r_err cannot be measured"):
        preflight(stopped.configuration, stopped)


def test_depth_alone_is_what_it_is_beside_motion(tmp_path):
    found = trainer(tmp_path)
    batch = batch_of(found.dataset)
    found.network.eval()
    with torch.no_grad():
        both, alone = predict(found.network, batch), predict(found.network, replace(batch, neighbours=None))
    assert set(alone) == {name for name in both if name.startswith("depth")}
    torch.testing.assert_close(both["depth"], alone["depth"])


def test_flipped_predictions_are_averaged_of_depth_alone(tmp_path):
    found = trainer(tmp_path, "evaluation.flip_average=true")
    metrics = evaluate(found.network, found.dataset, "validation", found.protocol, choose_precision("off", CPU), 2)
    assert {"abs_rel", "ate", "epe"} <= set(metrics)


def test_a_network_for_pairs_needs_neighbours(tmp_path):
    from weightsearch.runtime.network import build_network

    with pytest.raises((ConfigError, ModelError, OptionError), match="neighbours"):
        build_network(configuration(tmp_path, "data.neighbours=[]", "rebalance=null"))


def test_unknown_intrinsics_are_told(tmp_path):
    data = dataset(tmp_path)
    blind = replace(data, frames=replace(data.frames, intrinsics=np.full_like(data.frames.intrinsics, np.nan)))
    with pytest.raises(DataError, match="loss.photometric_rigid: this term needs camera intrinsics"):
        preflight(data.configuration, blind)


def test_known_poses_that_are_not_known_are_told_or_left_out(tmp_path):
    model = "model={name: disparity, encoder: test_efficientnet, channels: 4}"
    data = dataset(tmp_path, model, "rebalance=null", "loss={photometric_rigid: {weight: 1, pose: known}}")
    preflight(data.configuration, data)
    lost = np.array(data.frames.pose)
    lost[3:] = np.nan
    some = replace(data, frames=replace(data.frames, pose=lost))
    record = Trainer(some.configuration, some, CPU).train_epoch()  # pairs that are known, and pairs that are not
    assert 0 < record.terms["photometric_rigid"].gradient < 100
    lost[:] = np.nan
    with pytest.raises(DataError, match=r"loss\.photometric_rigid\.pose: 'known' needs poses; the data set has none"):
        preflight(data.configuration, replace(data, frames=replace(data.frames, pose=lost)))


def test_a_flow_that_is_not_finite_is_survived():
    """PyTorch's backward pass would end the process."""
    flow = torch.zeros(1, 2, 8, 8)
    flow[0, 0, 2:4] = torch.nan
    flow[0, 1, 5] = torch.inf
    flow.requires_grad_()
    made = warp(torch.rand(1, 3, 8, 8), flow)
    made.sum().backward()
    assert bool(made.isfinite().all())
    assert bool(flow.grad.isfinite().all())


def test_probes_see_the_network_anew_when_another_part_begins_to_learn(tmp_path):
    """As a training that was resumed there, which has seen nothing of it before."""
    data = dataset(tmp_path, "analysis.budget=1.0", "train.start_epochs={depth: 2}", "rebalance=null")
    whole, resumed = (Trainer(data.configuration, data, CPU, account=Account(1e9)) for _ in range(2))
    whole.train_epoch()
    whole.save(tmp_path / "checkpoint.pt")
    resumed.resume(tmp_path / "checkpoint.pt")
    through, again = shared_norms(whole.train_epoch()), shared_norms(resumed.train_epoch())
    assert set(through) == set(again)
    assert through["photometric_flow"] > 0
    assert through["smooth_depth"] > 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_any_optimizer_goes_on_when_a_part_begins_to_learn(tmp_path, optimizer):
    found = trainer(tmp_path, f"train.optimizer={optimizer}", "train.lr=1.0e-5", "train.start_epochs={depth: 2}")
    before = numbers(found.network.depth)
    found.train_epoch()
    assert all(torch.equal(a, b) for a, b in zip(before, numbers(found.network.depth), strict=True))
    found.train_epoch()
    assert not all(torch.equal(a, b) for a, b in zip(before, numbers(found.network.depth), strict=True))


@pytest.mark.parametrize("source", ["depth_and_flow", "depth_and_images"])
def test_a_motion_that_is_worked_out_needs_no_parameter_and_teaches_depth(tmp_path, source):
    """The gradient of the terms that use the pose reaches depth alone, once depth learns."""
    options = (f"model.motion_from={source}", "loss.epipolar={weight: 0.1, learns: pose}")
    data = dataset(tmp_path, *options, "analysis.budget=1.0", "train.start_epochs={depth: 2}")
    found = Trainer(data.configuration, data, CPU, account=Account(1e9))
    assert not list(found.network.pose.parameters())
    first, second = found.train_epoch(), found.train_epoch()
    before, after = ([shared_norms(one)[name] for name in RIGID] for one in (first, second))
    assert before == [0, 0]
    assert min(after) > 0
    pose = predict(found.network, batch_of(data))["pose"]
    parts = {name: list(getattr(found.network, name).parameters()) for name in ("depth", "flow")}
    for name, expected in {"depth": True, "flow": False}.items():
        grads = torch.autograd.grad(pose.square().sum(), parts[name], retain_graph=True, allow_unused=True)
        assert any(one is not None and bool(one.any()) for one in grads) is expected


def test_metrics_of_motion_are_refused_where_nothing_moves(tmp_path):
    plain = ("data.neighbours=[]", "rebalance=null", "model={name: encoder_decoder, encoder: test_efficientnet}")
    data = dataset(tmp_path, *plain, "loss={mae: {weight: 1}}")
    preflight(data.configuration, data, ["abs_rel"])
    with pytest.raises(DataError, match="ate cannot be measured"):
        preflight(data.configuration, data, ["ate"])


def test_nothing_that_learns_in_epoch_one_is_told_before(tmp_path):
    data = dataset(tmp_path, "train.start_epochs={depth: 2, pose: 2, flow: 2}")
    with pytest.raises(ModelError, match=r"gets a gradient from the loss in epoch 1: see train\.start_epochs"):
        preflight(data.configuration, data)


def test_a_users_own_option_neighbours_is_left_alone(tmp_path):
    assert "neighbours" not in configuration(tmp_path, "data.neighbours=[]", "rebalance=null", *SUPERVISED).context
    assert configuration(tmp_path).context["neighbours"] == (-1, 1)


SUPERVISED = ("model={name: encoder_decoder, encoder: test_efficientnet}", "loss={mae: {weight: 1}}")


def test_checkpoints_from_before_there_were_neighbours_go_on(tmp_path):
    now = essentials(configuration(tmp_path, "data.neighbours=[]", "rebalance=null", *SUPERVISED))
    assert not any("neighbours" in name for name in now)
    assert any("neighbours" in name for name in essentials(configuration(tmp_path)))


def test_frames_are_named_as_they_are_measured(tmp_path):
    data = dataset(tmp_path)
    names = [data.frames.names[index] for index in data.splits["validation"]]
    assert frame_names(data.configuration, "validation") == names
    assert len(names) == 2 * (3 - 2)


def test_of_many_training_frames_a_thousand_say_what_depth_is_usual(tmp_path, monkeypatch):
    data = dataset(tmp_path)
    protocol, train = protocol_of(data.configuration, "validation"), data.splits["train"]
    whole = naive_metrics(data, "validation", protocol, 4)["mean_depth"]
    monkeypatch.setattr(naive, "DEPTHS", math.ceil(len(train) / 2))
    half = naive_metrics(data, "validation", protocol, 4)["mean_depth"]
    fewer = replace(data, splits={**data.splits, "train": train[::2]})
    monkeypatch.setattr(naive, "DEPTHS", 1000)
    assert half == naive_metrics(fewer, "validation", protocol, 4)["mean_depth"] != whole


def test_without_a_step_ahead_depth_is_still_compared(tmp_path):
    data = dataset(tmp_path, "data.neighbours=[-1]", "model.motion_from=images")
    found = naive_metrics(data, "validation", protocol_of(data.configuration, "validation"), 4)
    assert list(found) == ["constant_depth", "mean_depth", "zero_flow"]
