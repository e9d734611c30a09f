from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsearch.data.flow_files import read_flow
from weightsearch.errors import TrialFailure
from weightsearch.metrics.flow_metrics import FlowMetrics

CPU = torch.device("cpu")


def flows(seed: int, count: int = 3, neighbours: int = 2, size=(6, 9)):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 40, (count, neighbours, 2, *size)) * rng.choice([0.02, 1], (count, neighbours, 1, *size))
    predicted = truth + rng.normal(0, 3, truth.shape)
    truth[(rng.uniform(size=(count, neighbours, 1, *size)) < 0.3).repeat(2, 2)] = np.nan
    moving = rng.uniform(size=(count, 1, *size)) < 0.25
    return torch.from_numpy(predicted).float(), torch.from_numpy(truth).float(), torch.from_numpy(moving)


def measure(predicted, truth, moving=None, batch: int = 2) -> dict[str, float]:
    metrics = FlowMetrics(CPU, "validation")
    for start in range(0, len(predicted), batch):
        part = slice(start, start + batch)
        metrics.update(predicted[part], truth[part], None if moving is None else moving[part])
    return metrics.compute()


def one(*pixels) -> torch.Tensor:
    """Pixels' flow in a row, [1, 1, 2, 1, W]."""
    return torch.tensor(pixels, dtype=torch.float32).T[None, None, :, None]


def reference(predicted, truth, moving) -> dict[str, float]:
    """Written from the definitions, one pixel at a time."""
    found: dict[str, list[tuple[float, bool]]] = {
        name: [] for name in ("all", "static", "moving", "noc", "noc_static", "noc_moving")
    }
    p, y, m = (
        each.double().numpy() if each.is_floating_point() else each.numpy() for each in (predicted, truth, moving)
    )
    count, neighbours, _, height, width = y.shape
    for b, s, r, c in np.ndindex(count, neighbours, height, width):
        if math.isnan(y[b, s, 0, r, c]):
            continue
        error = math.hypot(p[b, s, 0, r, c] - y[b, s, 0, r, c], p[b, s, 1, r, c] - y[b, s, 1, r, c])
        length = math.hypot(y[b, s, 0, r, c], y[b, s, 1, r, c])
        pixel = error, error > 3 and error / length > 0.05
        found["all"].append(pixel)
        kind = "moving" if m[b, 0, r, c] else "static"
        found[kind].append(pixel)
        if 0 <= c + y[b, s, 0, r, c] <= width - 1 and 0 <= r + y[b, s, 1, r, c] <= height - 1:
            found["noc"].append(pixel)
            found[f"noc_{kind}"].append(pixel)
    result = {}
    for region, pixels in found.items():
        result["epe" if region == "all" else f"epe_{region}"] = sum(error for error, _ in pixels) / len(pixels)
        result[f"f1_{region}"] = 100 * sum(bad for _, bad in pixels) / len(pixels)
    return result


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 4))
def test_equal_to_an_independent_implementation(seed, batch):
    predicted, truth, moving = flows(seed)
    expected = reference(predicted, truth, moving)
    found = measure(predicted, truth, moving, batch)
    assert found == pytest.approx(expected, rel=1e-9)
    assert 5 < expected["f1_all"] < 95
    assert len({expected[name] for name in ("f1_all", "f1_static", "f1_moving")}) > 1
    plain = measure(predicted, truth, batch=batch)
    assert plain == {name: found[name] for name in ("epe", "f1_all", "epe_noc", "f1_noc")}
    assert len({expected[name] for name in expected if name.startswith("epe")}) == 6


def test_known_values():
    truth = one((10, 0), (0, 100), (0, 0), (-30, 40), (7, 7))
    predicted = one((13, 4), (0, 104), (0, 3), (-30, 46), (7, 7))
    found = measure(predicted, truth)
    assert found["epe"] == pytest.approx((5 + 4 + 3 + 6 + 0) / 5)
    assert found["f1_all"] == pytest.approx(40)  # 4 px of 100 are below 5 %, and 3 px are not more than 3


@pytest.mark.parametrize(
    ("true", "off", "outlier"),
    [
        (0.0, 3.01, True),
        (0.0, 3.0, False),
        (64.0, 3.19, False),
        (64.0, 3.21, True),
        (10.0, 2.9, False),
        (200.0, 10.0, False),
    ],
)
def test_an_outlier_is_off_by_more_than_3_pixels_and_more_than_5_percent(true, off, outlier):
    assert measure(one((true, 0)), one((true, 0)))["f1_all"] == 0
    for predicted in ((true + off, 0), (true, off), (true - off, 0)):
        assert measure(one(predicted), one((true, 0)))["f1_all"] == 100 * outlier


def test_means_are_over_the_pixels_of_all_pairs_not_over_pairs():
    truth = torch.zeros(2, 1, 2, 1, 4)
    truth[0, :, :, :, 1:] = torch.nan
    predicted = torch.zeros_like(truth)
    predicted[0, :, 0] = 10
    assert measure(predicted, truth, batch=1) == {"epe": 2.0, "f1_all": 20.0, "epe_noc": 2.0, "f1_noc": 20.0}


def test_what_moves_is_the_frame_s_for_all_its_neighbours():
    truth = torch.zeros(1, 3, 2, 1, 2)
    predicted = torch.zeros_like(truth)
    predicted[:, :, 1, :, 1] = torch.tensor([1.0, 5.0, 6.0])[None, :, None]
    found = measure(predicted, truth, torch.tensor([False, True])[None, None, None])
    assert (found["epe_static"], found["f1_static"]) == (0, 0)
    assert found["epe_moving"] == pytest.approx(4)
    assert found["f1_moving"] == pytest.approx(200 / 3)


def test_regions_without_pixels_are_left_out():
    predicted, truth, moving = flows(4)
    found = measure(predicted, truth, torch.zeros_like(moving))
    static = {"epe", "f1_all", "epe_noc", "f1_noc", "epe_static", "f1_static", "epe_noc_static", "f1_noc_static"}
    assert set(found) == static
    assert (found["epe_static"], found["epe_noc_static"]) == (found["epe"], found["epe_noc"])
    truth[:, :, :, moving[0, 0]] = torch.nan
    assert set(measure(predicted, truth, moving[:1].expand(3, -1, -1, -1))) == set(found)
    moved = set(measure(predicted, truth, torch.ones_like(moving)))
    assert moved == {name.replace("static", "moving") for name in static}


def test_what_leaves_the_picture_counts_in_all_pixels_only():
    """A row of five pixels: from x = 0 to 4 and 4.5, from x = 2 out of it above, from x = 4 to 0."""
    truth = one((4, 0), (3.5, 0), (0, -0.5), (0, 0), (-4, 0))
    predicted = one((4, 1), (203.5, 0), (0, 100), (0, 2), (-4, 0))
    found = measure(predicted, truth)
    assert found["epe_noc"] == pytest.approx((1 + 2 + 0) / 3)
    assert found["epe"] == pytest.approx((1 + 200 + 100.5 + 2 + 0) / 5)
    assert (found["f1_noc"], found["f1_all"]) == (0, 40)


def test_nothing_known_gives_nothing():
    predicted, truth, moving = flows(4)
    assert measure(predicted, torch.full_like(truth, torch.nan), moving) == {}
    assert FlowMetrics(CPU, "test").compute() == {}


def test_one_unknown_component_makes_a_pixel_unknown():
    truth = one((1, 1), (2, float("nan")), (float("inf"), 2))
    assert measure(one((1, 4), (50, 50), (50, 50)), truth) == {"epe": 3.0, "f1_all": 0.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_prediction_that_is_not_finite_fails_loudly_even_where_nobody_looks(bad):
    predicted, truth, _ = flows(7)
    truth[1, 1, :, 2, 3] = torch.nan
    predicted[1, 1, 1, 2, 3] = bad
    with pytest.raises(TrialFailure, match="the validation predictions of flow are not finite"):
        measure(predicted, truth)
    with pytest.raises(TrialFailure, match="the validation predictions of flow are not finite"):
        measure(predicted, torch.full_like(truth, torch.nan))


def test_numbers_are_the_same_under_the_gradient_and_without():
    predicted, truth, moving = flows(8)
    expected = measure(predicted, truth, moving)
    assert measure(predicted.clone().requires_grad_(), truth, moving) == expected
    with torch.inference_mode():
        assert measure(predicted, truth, moving) == expected


def test_on_real_flow(data_root):
    """A prediction of no motion is off by the true flow's own length; one that is 1 px off everywhere by 1."""
    flow = read_flow(data_root / "flow" / "rubberwhale" / "flow_gt.flo")
    truth = torch.from_numpy(flow).permute(2, 0, 1)[None, None]
    lengths = np.linalg.norm(flow[~np.isnan(flow[:, :, 0])].astype(float), axis=1)
    found = measure(torch.zeros_like(truth), truth)
    assert found["epe"] == pytest.approx(lengths.mean(), rel=1e-9)
    assert found["f1_all"] == pytest.approx(100 * (lengths > 3).mean(), rel=1e-9)
    assert found["f1_all"] > 1
    off = truth.nan_to_num() + torch.tensor([0.6, -0.8])[:, None, None]
    assert measure(off, truth) == pytest.approx({"epe": 1.0, "f1_all": 0.0, "epe_noc": 1.0, "f1_noc": 0.0}, rel=1e-6)
