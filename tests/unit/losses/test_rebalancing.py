"""Which pixels learn, against masks worked out by hand from the two errors."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.video import batch_of, configuration, dataset, truth_of
from weightsearch.config.schema import Rebalance
from weightsearch.data.batch import TrueMotion
from weightsearch.errors import ConfigError, ModelError
from weightsearch.geometry.camera import rigid_flow
from weightsearch.geometry.occlusion import visible
from weightsearch.geometry.pose import pose_matrix
from weightsearch.geometry.warp import inside, warp
from weightsearch.losses.photometric_error import photometric_error
from weightsearch.losses.pixel_masks import FLOW_PIXELS, RIGID_PIXELS, Balance
from weightsearch.losses.rebalancing import Rebalancing
from weightsearch.records import DELTA_BINS, rows_at
from weightsearch.training.measures import rebalancing
from weightsearch.training.measures.measure import Step

METHODS = ["none", "minimum", "negative", "neighbourhood", "one_sided", "oracle"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return batch_of(dataset(tmp_path_factory.mktemp("video"), "data.size=[64, 96]", "data.moving=16"))


@pytest.fixture(scope="module")
def prediction(video):
    """Right about depth, motion and flow, but for a little noise in flow."""
    found = truth_of(video)
    noise = 0.2 * torch.randn(found["flow"].shape, generator=torch.Generator().manual_seed(0))
    return {**found, "flow": found["flow"] + noise, "backward_flow": -found["flow"]}


def by_hand(video, prediction):
    """Delta and what is seen, of each pair, [B, S, H, W]."""
    delta, seen = [], []
    for number in range(2):
        pose = pose_matrix(prediction["pose"][:, number])
        flow, far = rigid_flow(prediction["depth"], pose, video.intrinsics)
        other = video.neighbours.image[:, number]
        errors = [
            photometric_error(video.image, warp(other, steps), 0.85)[:, 0]
            for steps in (flow, prediction["flow"][:, number])
        ]
        delta.append(errors[0] - errors[1])
        seen.append((inside(flow) & (far > 1e-3) & inside(prediction["flow"][:, number]))[:, 0])
    return torch.stack(delta, dim=1), torch.stack(seen, dim=1)


def balance(video, prediction, epoch=1, **options):
    return Rebalancing(Rebalance(**options))(prediction, video, epoch)


def test_delta_is_the_difference_of_the_two_errors(video, prediction):
    delta, seen = by_hand(video, prediction)
    found = balance(video, prediction)
    torch.testing.assert_close(found.delta[:, :, 0], delta, atol=1e-5, rtol=0)
    assert torch.equal(found.counted[:, :, 0], seen)
    assert not found.delta.requires_grad


@pytest.mark.parametrize("method", ["neighbourhood", "one_sided"])
def test_masks_go_by_the_mode_wherever_it_lies(video, prediction, method):
    """Flow that is wrong everywhere shifts Delta."""
    noise = 3 * torch.randn(prediction["flow"].shape, generator=torch.Generator().manual_seed(1))
    off = {**prediction, "flow": prediction["flow"] + noise}
    delta, seen = by_hand(video, off)
    found = balance(video, off, method=method, eta=0.02, mode_estimator="median")
    mode = float(delta[seen].median())
    assert float(found.mode) == pytest.approx(mode, abs=1e-3)
    assert mode < -0.02
    expected = (delta - mode).abs() <= 0.02 if method == "neighbourhood" else delta - mode <= 0.02
    assert float((found.rigid_pixels[:, :, 0] != expected).float().mean()) < 0.01  # at the thresholds, by rounding


def test_each_method_keeps_what_it_says(video, prediction):
    delta, _ = by_hand(video, prediction)
    eta = 0.07
    found = {method: balance(video, prediction, method=method, eta=eta) for method in METHODS}
    mode = float(found["none"].mode)
    assert abs(mode) < 0.02
    moving = video.motion.moving.expand(-1, 2, -1, -1)
    expected = {
        "none": torch.ones_like(moving),
        "minimum": delta < 0,
        "negative": delta < 0,
        "neighbourhood": (delta - mode).abs() <= eta,
        "one_sided": delta - mode <= eta,
        "oracle": ~moving,
    }
    for method in METHODS:
        differs = (found[method].rigid_pixels[:, :, 0] != expected[method]).float().mean()
        assert float(differs) < 2e-3, method  # at thresholds, by rounding
        assert set(found[method].masks) == {RIGID_PIXELS, FLOW_PIXELS}
    kept = {method: float(one.rigid_pixels.float().mean()) for method, one in found.items()}
    assert kept["none"] == 1
    assert kept["neighbourhood"] < kept["one_sided"] < 1
    assert 0.02 < 1 - kept["oracle"] < 0.4


@pytest.mark.parametrize("method", ["negative", "neighbourhood", "one_sided", "oracle"])
def test_which_pixels_flow_learns_from(video, prediction, method):
    every, complement, seen = (
        balance(video, prediction, method=method, flow_pixels=pixels) for pixels in ("all", "complement", "visible")
    )
    assert bool(every.flow_pixels.all())
    assert torch.equal(complement.flow_pixels, ~complement.rigid_pixels)
    flow, backward = (prediction[name].flatten(0, 1) for name in ("flow", "backward_flow"))
    expected = visible(flow, backward).reshape(seen.flow_pixels.shape)
    share = expected.float().mean(dim=(-1, -2), keepdim=True)
    assert torch.equal(seen.flow_pixels, expected | (share < 0.5))


def test_the_minimum_gives_every_pixel_to_the_smaller_error(video, prediction):
    found = balance(video, prediction, method="minimum", flow_pixels="all")
    assert bool((found.rigid_pixels ^ found.flow_pixels).all())


def test_flow_that_calls_most_hidden_is_not_believed(video, prediction):
    lost = {**prediction, "backward_flow": prediction["backward_flow"] + 50}
    assert bool(balance(video, lost, method="negative", flow_pixels="visible").flow_pixels.all())


@pytest.mark.parametrize("method", METHODS)
def test_while_it_warms_up_all_learn_from_all(video, prediction, method):
    options = {"method": method, "flow_pixels": "complement", "warmup_epochs": 2}
    early = balance(video, prediction, 2, **options)
    assert bool(early.rigid_pixels.all())
    assert bool(early.flow_pixels.all())
    late = balance(video, prediction, 3, **options)
    assert bool(late.flow_pixels.all()) == (method == "none")  # nothing is left out that could be left to flow


def test_what_moves_is_found_where_the_networks_are_right(video, prediction):
    """Eta of .05: most of what moves is left out, little of what stands still."""
    found = balance(video, prediction, method="one_sided", eta=0.05)
    counted = found.counted[:, :, 0]
    moving = video.motion.moving.expand(-1, 2, -1, -1) & counted
    still = ~video.motion.moving.expand(-1, 2, -1, -1) & counted & (video.depth > 0)
    left_out = ~found.rigid_pixels[:, :, 0]
    assert float(left_out[moving].float().mean()) > 2.5 * float(left_out[still].float().mean())


def test_it_says_what_is_missing(video, prediction):
    without = {name: one for name, one in prediction.items() if name != "flow"}
    with pytest.raises(ModelError, match="rebalance: needs the network's output 'flow'; it gives depth, pose"):
        balance(video, without)
    with pytest.raises(ModelError, match="needs the network's output 'backward_flow'"):
        balance(video, {n: o for n, o in prediction.items() if n != "backward_flow"}, flow_pixels="visible")
    blind = replace(video, motion=TrueMotion())
    with pytest.raises(ModelError, match="'oracle' needs a data set that knows what moves"):
        balance(blind, prediction, method="oracle")


def measured(*balances: Balance) -> dict[str, dict[str, float]]:
    """The rows of an epoch whose steps had these balances."""
    measure = rebalancing.Rebalancing(None, CPU)
    for one in balances:
        measure.add(Step(None, None, None, one))
    return measure.rows()


def test_the_record_of_an_epoch_is_that_of_its_pixels(video, prediction):
    assert measured() == {}
    delta, seen = by_hand(video, prediction)
    moving = video.motion.moving.expand(-1, 2, -1, -1)
    found = balance(video, prediction, method="neighbourhood", eta=0.05)
    rows = measured(found, found)  # an epoch of two equal steps
    record = SimpleNamespace(**rows["rebalancing"])
    left_out = (delta - float(found.mode)).abs() > 0.05
    assert record.mode == pytest.approx(float(found.mode), abs=1e-6)
    assert record.kept == pytest.approx(float((~left_out)[seen].float().mean()), abs=1e-3)
    assert record.flow_kept == 1
    assert record.mean == pytest.approx(float(delta[seen].mean()), abs=1e-5)
    assert record.deviation == pytest.approx(float(delta[seen].std(unbiased=False)), abs=1e-5)
    errors = found.flow_error[:, :, 0]
    assert record.below == pytest.approx(float(errors[seen & (delta < 0)].mean()), rel=1e-3)
    assert record.near == pytest.approx(float(errors[seen & ~left_out].mean()), rel=1e-3)
    hit = (left_out & moving & seen).sum()
    assert record.precision == pytest.approx(float(hit / (left_out & seen).sum()), abs=1e-3)
    assert record.recall == pytest.approx(float(hit / (moving & seen).sum()), abs=1e-3)
    edges = np.linspace(-1, 1, DELTA_BINS + 1)
    for kind, pixels in (("static", seen & ~moving), ("moving", seen & moving)):
        counts = [rows["delta"].get(f"{kind}/{place}", 0) for place in range(DELTA_BINS)]
        expected = np.histogram(delta[pixels].numpy(), edges)[0]
        assert sum(counts) == 2 * int(pixels.sum())
        assert np.abs(np.array(counts) - 2 * expected).sum() < 0.002 * sum(counts)


def test_without_truth_nothing_is_called_moving(video, prediction):
    rows = measured(balance(replace(video, motion=TrueMotion()), prediction, method="one_sided"))
    assert rows["rebalancing"]["moving_known"] == 0
    assert not {"precision", "recall"} & set(rows["rebalancing"])
    assert rows_at(rows["delta"], "moving") == {}
    assert sum(rows_at(rows["delta"], "static").values()) > 0
    assert not math.isnan(rows["rebalancing"]["mode"])


def test_a_rebalance_section_needs_neighbours(tmp_path):
    with pytest.raises(ConfigError, match=r"rebalance: needs data\.neighbours"):
        configuration(tmp_path, "data.neighbours=[]", "model={name: encoder_decoder, encoder: test_efficientnet}")
