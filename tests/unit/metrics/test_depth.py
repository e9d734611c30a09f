from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from weightsearch.cli import app
from weightsearch.config import load_configuration, load_study
from weightsearch.config.schema import PRESETS
from weightsearch.errors import ConfigError, ModelError, TrialFailure
from weightsearch.evaluation.protocols import own_metrics, protocol_of, try_own_metrics
from weightsearch.metrics.depth_metrics import DepthMetrics, depth
from weightsearch.metrics.protocol import CROPS, Protocol, crop_mask, misfit

CPU = torch.device("cpu")
CLOSED = ["loss.fractional.weight=10", "loss.consistency.weight=0.5"]


def protocol(**changes) -> Protocol:
    base = {
        "split": "validation",
        "crop": "none",
        "min_depth": 0.5,
        "max_depth": 10.0,
        "size": (12, 16),
        "bits": None,
        "flip_average": False,
        "median_scaling": False,
        "aggregation": "per_image",
        "rel_denominator": "truth",
    }
    return Protocol(**{**base, **changes})


def maps(seed: int, count: int = 3, size=(12, 16)):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.2, 12, (count, 1, *size))
    truth[rng.uniform(size=truth.shape) < 0.3] = 0
    predicted = np.maximum(truth, 1) * rng.lognormal(0, 0.3, truth.shape)
    return torch.from_numpy(predicted).float(), torch.from_numpy(truth).float()


def measure(predicted, truth, **changes) -> dict[str, float]:
    metrics = DepthMetrics(protocol(size=tuple(truth.shape[-2:]), **changes), CPU)
    for start in range(0, len(predicted), 2):
        metrics.update(predicted[start : start + 2], truth[start : start + 2])
    return metrics.compute()


def reference(predicted, truth, used: Protocol) -> dict[str, float]:
    """Written from the definitions, one image at a time, in numpy."""
    inside = crop_mask(used.crop, used.size, CPU).numpy()
    rows = []
    kept = []
    for p, y in zip(predicted.double().numpy()[:, 0], truth.double().numpy()[:, 0], strict=True):
        mask = (y > used.min_depth) & (y < used.max_depth) & inside
        p, y = p[mask], y[mask]
        if used.median_scaling:
            p = p * np.median(y) / np.median(p)
        kept.append((np.clip(p, used.min_depth, used.max_depth), y))
    if used.aggregation == "pooled":
        kept = [tuple(np.concatenate(parts) for parts in zip(*kept, strict=True))]
    for p, y in kept:
        d = np.log(p) - np.log(y)
        by = y if used.rel_denominator == "truth" else p
        ratio = np.maximum(p / y, y / p)
        rows.append(
            {
                "abs_rel": np.mean(np.abs(p - y) / by),
                "sq_rel": np.mean((p - y) ** 2 / by),
                "rmse": np.sqrt(np.mean((p - y) ** 2)),
                "rmse_log": np.sqrt(np.mean(d**2)),
                "log10": np.mean(np.abs(np.log10(p) - np.log10(y))),
                "silog": 100 * np.std(d),
                **{f"a{i}": np.mean(ratio < 1.25**i) for i in (1, 2, 3)},
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@pytest.mark.parametrize("crop", [*CROPS, "kb"])
@pytest.mark.parametrize("aggregation", ["per_image", "pooled"])
@pytest.mark.parametrize("denominator", ["truth", "prediction"])
@pytest.mark.parametrize("scaling", [False, True])
def test_equal_to_an_independent_implementation(crop, aggregation, denominator, scaling):
    predicted, truth = maps(5, 5, (24, 40))
    changes = {"crop": crop, "aggregation": aggregation, "rel_denominator": denominator, "median_scaling": scaling}
    found = measure(predicted, truth, **changes)
    for name, value in reference(predicted, truth, protocol(size=(24, 40), **changes)).items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


NATIVE = {"nyu": (480, 640), "kitti_eigen": (375, 1242), "densedepth": (480, 640)}  # of most of the pictures
# Rows from, to and columns from, to in pixels, as the evaluations that made the published numbers have them.
RECTANGLES = {
    "nyu": (45, 471, 41, 601),  # BTS
    "kitti_eigen": (153, 371, 44, 1197),  # Garg et al. 2016
    "densedepth": (20, 460, 24, 616),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_what_the_published_numbers_were_taken_under(preset, tiny):
    used = protocol_of(load_configuration(tiny, [*CLOSED, f"evaluation={preset}"]), "test")
    assert used.size == ("native" if preset == "kitti_eigen" else NATIVE[preset])  # KITTI has pictures of five sizes
    assert used.min_depth == (0.1 if preset == "densedepth" else 1e-3)
    assert used.max_depth == (80.0 if preset == "kitti_eigen" else 10.0)
    assert (used.flip_average, used.aggregation, used.rel_denominator) == (
        (True, "pooled", "prediction") if preset == "densedepth" else (False, "per_image", "truth")
    )
    top, bottom, left, right = RECTANGLES[preset]
    inside = np.zeros(NATIVE[preset], dtype=bool)
    inside[top:bottom, left:right] = True
    assert np.array_equal(crop_mask(used.crop, NATIVE[preset], CPU).numpy(), inside)


@pytest.mark.parametrize("preset", PRESETS)
def test_equal_to_an_independent_implementation_under_every_preset(preset, tiny):
    used = protocol_of(load_configuration(tiny, [*CLOSED, f"evaluation={preset}"]), "test")
    used = replace(used, size=NATIVE[preset])
    predicted, truth = maps(9, 3, NATIVE[preset])
    metrics = DepthMetrics(used, CPU)
    metrics.update(predicted, truth)
    found = metrics.compute()
    for name, value in reference(predicted, truth, used).items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


def test_eigen_s_own_crop_of_kitti_at_native_size():
    mask = crop_mask("eigen", (375, 1242), CPU).numpy()
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (124, 342, 44, 1197)
    kb = crop_mask("kb", (375, 1242), CPU).numpy()
    rows, columns = np.nonzero(kb)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (23, 375, 13, 1229)


def test_equal_on_real_depth(data_root):
    from weightsearch.data.sources.seven_scenes import SevenScenes

    source = SevenScenes(root=data_root / "7scenes" / "redkitchen", stride=100)
    truth = torch.from_numpy(np.stack([source.read(0, i).depth for i in range(4)]))[:, None]
    predicted = torch.full_like(truth, 1.83) + 0.1 * torch.rand(truth.shape, generator=torch.Generator().manual_seed(0))
    found = measure(predicted, truth)
    for name, value in reference(predicted, truth, protocol(size=(480, 640))).items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_a_rel_the_wrong_way_round_is_another_number():
    truth = torch.full((1, 1, 12, 16), 2.0)
    predicted = torch.full_like(truth, 4.0)
    assert measure(predicted, truth)["abs_rel"] == pytest.approx(1.0)
    assert measure(predicted, truth, rel_denominator="prediction")["abs_rel"] == pytest.approx(0.5)


def test_known_values():
    truth = torch.full((1, 1, 12, 16), 2.0)
    found = measure(1.2 * truth, truth)
    assert found["abs_rel"] == pytest.approx(0.2)
    assert found["sq_rel"] == pytest.approx(0.08)
    assert found["rmse"] == pytest.approx(0.4)
    assert found["rmse_log"] == pytest.approx(math.log(1.2), rel=1e-6)
    assert found["log10"] == pytest.approx(math.log10(1.2), rel=1e-6)
    assert found["silog"] == pytest.approx(0, abs=1e-5)
    assert (found["a1"], found["a2"], found["a3"]) == (1, 1, 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.2, 5))
def test_median_scaling_takes_out_a_factor_and_reports_it(seed, scale):
    predicted, truth = maps(seed)
    plain = measure(predicted, truth, median_scaling=True)
    scaled = measure(scale * predicted, truth, median_scaling=True)
    assert scaled["abs_rel"] == pytest.approx(plain["abs_rel"], rel=1e-4)
    assert scaled["scale"] == pytest.approx(plain["scale"] / scale, rel=1e-4)


def test_images_without_truth_are_left_out():
    predicted, truth = maps(7, 4)
    expected = measure(predicted[:3], truth[:3])
    truth[3] = 0
    for aggregation in ("per_image", "pooled"):
        expected = measure(predicted[:3], truth[:3], aggregation=aggregation)
        assert measure(predicted, truth, aggregation=aggregation) == pytest.approx(expected)


def test_no_truth_at_all_fails_loudly():
    predicted, truth = maps(7)
    with pytest.raises(TrialFailure, match="no validation image has a valid pixel under the crop none"):
        measure(predicted, torch.zeros_like(truth))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_prediction_that_is_not_finite_fails_loudly_even_where_nobody_looks(bad):
    predicted, truth = maps(7)
    predicted[0, 0, 0, 0] = bad
    truth[0, 0, 0, 0] = 0
    with pytest.raises(TrialFailure, match="the validation predictions are not finite"):
        measure(predicted, truth)


@pytest.mark.parametrize("value", [-2.0, 0.0])
def test_median_scaling_does_not_turn_rubbish_into_gold(value):
    _, truth = maps(7)
    with pytest.raises(TrialFailure, match="have no positive median"):
        measure(torch.full_like(truth, value), truth, median_scaling=True)


def test_crops_of_the_field_at_their_native_sizes():
    """Garg and Eigen at 375 x 1242, NYU at 480 x 640, KB at 375 x 1242: rows and columns that the field uses."""
    garg = crop_mask("garg", (375, 1242), CPU).nonzero()
    assert garg.min(0).values.tolist() == [153, 44]
    assert garg.max(0).values.tolist() == [370, 1196]
    nyu = crop_mask("nyu", (480, 640), CPU).nonzero()
    assert nyu.min(0).values.tolist() == [45, 41]
    assert nyu.max(0).values.tolist() == [470, 600]
    kb = crop_mask("kb", (375, 1242), CPU).nonzero()
    assert kb.min(0).values.tolist() == [23, 13]
    assert kb.max(0).values.tolist() == [374, 1228]


def moving_maps(seed: int):
    """Five images: the second has no moving pixel, the third only moving ones, the fourth no truth."""
    predicted, truth = maps(seed, 5)
    moving = torch.from_numpy(np.random.default_rng(seed).uniform(size=truth.shape) < 0.3)
    moving[1], moving[2], truth[3] = False, True, 0
    return predicted, truth, moving


def measure_parts(predicted, truth, moving, **changes) -> dict[str, float]:
    metrics = DepthMetrics(protocol(size=tuple(truth.shape[-2:]), **changes), CPU)
    for start in range(0, len(predicted), 2):
        part = slice(start, start + 2)
        metrics.update(predicted[part], truth[part], moving[part])
    return metrics.compute()


def reference_parts(predicted, truth, moving, used: Protocol) -> dict[str, float]:
    """Written from the definitions, one pixel at a time."""
    inside = crop_mask(used.crop, used.size, CPU).numpy()
    found: dict[str, list[list[float]]] = {"abs_rel_static": [], "abs_rel_moving": []}
    for p, y, m in zip(*(each.numpy()[:, 0] for each in (predicted.double(), truth.double(), moving)), strict=True):
        valid = (y > used.min_depth) & (y < used.max_depth) & inside
        by_which = valid & ~m if (valid & ~m).any() else valid
        factor = np.median(y[by_which]) / np.median(p[by_which]) if used.median_scaling and valid.any() else 1
        here: dict[str, list[float]] = {name: [] for name in found}
        for place in zip(*np.nonzero(valid), strict=True):
            guess = min(max(p[place] * factor, used.min_depth), used.max_depth)
            by = y[place] if used.rel_denominator == "truth" else guess
            here["abs_rel_moving" if m[place] else "abs_rel_static"].append(abs(guess - y[place]) / by)
        for name, values in here.items():
            if values:
                found[name].append(values)
    if used.aggregation == "pooled":
        found = {name: [np.concatenate(images)] if images else [] for name, images in found.items()}
    return {name: float(np.mean([np.mean(image) for image in images])) for name, images in found.items()}


@pytest.mark.parametrize("aggregation", ["per_image", "pooled"])
@pytest.mark.parametrize("denominator", ["truth", "prediction"])
@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("crop", ["none", "garg"])
def test_standing_and_moving_pixels_equal_to_an_independent_implementation(aggregation, denominator, scaling, crop):
    changes = {"aggregation": aggregation, "rel_denominator": denominator, "median_scaling": scaling, "crop": crop}
    predicted, truth, moving = moving_maps(11)
    found = measure_parts(predicted, truth, moving, **changes)
    expected = reference_parts(predicted, truth, moving, protocol(**changes))
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert expected["abs_rel_static"] != pytest.approx(expected["abs_rel_moving"], rel=1e-3)
    plain = measure(predicted, truth, **changes)  # to the last bit
    assert {name: value for name, value in found.items() if name not in expected} == plain


def test_a_moving_thing_at_the_wrong_depth_is_the_moving_pixels_error_alone():
    truth = torch.full((2, 1, 12, 16), 2.0)
    moving = torch.zeros_like(truth, dtype=torch.bool)
    moving[:, :, :4, :4] = True
    predicted = torch.where(moving, 3.0, 2.0)
    found = measure_parts(5 * predicted, truth, moving, median_scaling=True)
    assert found["abs_rel_static"] == pytest.approx(0, abs=1e-9)
    assert found["abs_rel_moving"] == pytest.approx(0.5)
    assert found["abs_rel"] == pytest.approx(0.5 * 16 / 192)


def test_what_stands_still_is_right_however_much_of_the_picture_moves():
    """Two thirds of the pixels move and are at ten times their depth: the whole image's median is theirs."""
    truth = torch.full((2, 1, 12, 16), 2.0)
    moving = torch.zeros_like(truth, dtype=torch.bool)
    moving[:, :, :8] = True
    predicted = torch.where(moving, 20.0, 2.0)
    found = measure_parts(3 * predicted, truth, moving, median_scaling=True)
    assert found["abs_rel_static"] == pytest.approx(0, abs=1e-9)
    assert found["abs_rel_moving"] == pytest.approx(4.0)  # up to the farthest depth that counts, 10 m
    assert found["abs_rel"] == pytest.approx(0.75 / 3)  # what stands still is taken for the nearest depth, .5 m


def test_what_stands_still_has_no_factor_below_zero():
    """The whole image's median is positive, the median of the static pixels is not: no factor makes this depth right."""
    truth = torch.full((1, 1, 12, 16), 2.0)
    moving = torch.zeros_like(truth, dtype=torch.bool)
    moving[:, :, :8] = True
    with pytest.raises(TrialFailure, match="have no positive median"):
        measure_parts(torch.where(moving, 2.0, -2.0), truth, moving, median_scaling=True)


def test_standing_and_moving_pixels_are_left_out_where_there_are_none():
    predicted, truth, moving = moving_maps(12)
    for aggregation in ("per_image", "pooled"):
        found = measure_parts(predicted, truth, torch.zeros_like(moving), aggregation=aggregation)
        assert found["abs_rel_static"] == pytest.approx(found["abs_rel"], rel=1e-12)
        assert "abs_rel_moving" not in found
        found = measure_parts(predicted, truth, torch.ones_like(moving), aggregation=aggregation)
        assert found["abs_rel_moving"] == pytest.approx(found["abs_rel"], rel=1e-12)
        assert "abs_rel_static" not in found


KITTI_SIZES = [(375, 1242), (370, 1224), (370, 1226), (374, 1238), (376, 1241)]


def test_images_of_several_sizes_have_the_crop_of_their_own_size():
    """KITTI's Eigen images have five sizes: each is measured by Garg's crop of its own pixels."""
    used = protocol(crop="garg", size="native", max_depth=80.0)
    metrics = DepthMetrics(used, CPU)
    rows: list[float] = []
    for seed, size in enumerate(KITTI_SIZES):
        predicted, truth = maps(seed, 1, size)
        metrics.update(predicted, truth)
        rows.append(reference(predicted, truth, replace(used, size=size))["abs_rel"])
    assert metrics.compute()["abs_rel"] == pytest.approx(np.mean(rows), rel=1e-9)
    assert used.to_plain()["size"] == "native"


def test_a_crop_on_pictures_that_it_is_not_made_for_is_told():
    assert misfit("garg", KITTI_SIZES) is None
    assert misfit("nyu", [(480, 640), (240, 320)]) is None
    assert misfit("none", [(480, 480)]) is None
    text = misfit("garg", [(375, 1242), (480, 480), (480, 640)])
    assert text is not None
    assert text.startswith(
        "evaluation.crop garg is made for images of 1242x375 pixels (width x height); this data set "
    )
    assert "has 480x480 and 1 more sizes, of other proportions" in text
    assert "cannot be compared with published ones" in text


def median_error(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """A metric of one's own, metres."""
    assert predicted.shape == true.shape
    assert predicted.ndim == 1
    return (predicted - true).abs().median()


def broken(predicted: torch.Tensor, true: torch.Tensor) -> float:
    raise ValueError("no such thing")


OWN = "evaluation.metrics={middle: 'tests.unit.metrics.test_depth:median_error'}"


def test_an_own_metric_is_the_mean_over_images_of_its_valid_pixels():
    predicted, truth = maps(3)
    used = protocol(size=tuple(truth.shape[-2:]), crop="garg")
    metrics = DepthMetrics(used, CPU, {"middle": median_error})
    metrics.update(predicted[:2], truth[:2])
    metrics.update(predicted[2:], truth[2:])
    inside = crop_mask(used.crop, used.size, CPU)
    expected = []
    for p, y in zip(predicted.double()[:, 0], truth.double()[:, 0], strict=True):
        valid = (y > used.min_depth) & (y < used.max_depth) & inside
        errors = (p[valid].clamp(used.min_depth, used.max_depth) - y[valid]).abs().sort().values
        expected.append(float(errors[(len(errors) - 1) // 2]))
    assert metrics.compute()["middle"] == pytest.approx(np.mean(expected), rel=1e-12)


def test_an_own_metric_may_be_the_objective(tiny):
    config = load_study(tiny, [OWN, "search.objectives={middle: minimize}", "train.early_stopping={patience: 2}"])
    stopping = config.base.train.early_stopping
    assert (stopping.metric, stopping.direction) == ("middle", "minimize")
    assert stopping.best([0.5, 0.2, 0.3]) == 2
    upwards = load_study(tiny, [OWN, "search.objectives={middle: maximize}", "train.early_stopping={patience: 2}"])
    assert upwards.base.train.early_stopping.best([0.5, 0.2, 0.3]) == 1


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["evaluation.metrics={abs_rel: 'tests.unit.metrics.test_depth:median_error'}"], "give yours another one"),
        (["evaluation.metrics={mine: 'nowhere.to_be:found'}"], "cannot import 'nowhere.to_be'"),
        ([OWN, "search.objectives={midle: minimize}"], "did you mean 'middle'?"),
        ([OWN, "train.early_stopping={patience: 1, metric: middle}"], "add early_stopping.direction"),
    ],
)
def test_mistakes_about_own_metrics_are_located(tiny, sets, message):
    with pytest.raises(ConfigError) as caught:
        load_study(tiny, sets)
    assert message in str(caught.value)


def test_a_fault_in_an_own_metric_names_its_line(tiny):
    own = "evaluation.metrics={mine: 'tests.unit.metrics.test_depth:broken'}"
    (function,) = own_metrics(load_configuration(tiny, [*CLOSED, own])).values()
    with pytest.raises(ModelError, match=r"evaluation\.metrics\.mine: ValueError: no such thing .*test_depth\.py:\d+"):
        function(torch.ones(3), torch.ones(3))


def per_pixel(predicted, true):
    return predicted - true


def nothing(predicted, true):
    pass


def three(predicted, true, mask):
    return 1.0


def text(predicted, true):
    return "0.5"


def in_place(predicted, true):
    true.zero_()
    return 0.0


def near(predicted, true):
    """The mean of the 65 largest errors of depths below 0.4 m; fails for fewer such pixels."""
    return (predicted - true)[true < 0.4].abs().topk(65).values.mean()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "ValueError: no such thing"),
        ("per_pixel", "returned Tensor of the shape [4000]; a metric returns a number for the pixels of an image"),
        ("nothing", "returned None; a metric returns a number"),
        (
            "three",
            "must take (predicted, true), found three(predicted, true, mask): missing a required argument: 'mask'",
        ),
        ("text", "returned str; a metric returns a number"),
    ],
)
def test_validate_calls_own_metrics(tiny, function, message):
    """A metric that fails would end every trial after its first epoch."""
    own = f"evaluation.metrics={{mine: 'tests.unit.metrics.test_depth:{function}'}}"
    with pytest.raises(ModelError) as caught:
        CliRunner().invoke(app, ["validate", str(tiny), "--set", own], catch_exceptions=False)
    assert str(caught.value).startswith(f"evaluation.metrics.mine: {message}")
    assert str(caught.value).endswith(f"(--set {own})")


@pytest.mark.parametrize(
    "value",
    [
        1,
        True,
        np.float32(1),
        np.bool_(True),
        Fraction(1),
        np.array(1.0),
        np.array([1.0]),
        torch.tensor(1),
        torch.ones(1),
    ],
    ids=repr,
)
def test_an_own_metric_returns_any_number(tiny, monkeypatch, value):
    monkeypatch.setattr("tests.unit.metrics.test_depth.nothing", lambda predicted, true: value)
    own = "evaluation.metrics={mine: 'tests.unit.metrics.test_depth:nothing'}"
    (function,) = own_metrics(load_configuration(tiny, [*CLOSED, own])).values()
    assert function(torch.ones(3), torch.ones(3)) == 1.0


def test_own_metrics_are_tried_on_many_depths_each_on_its_own_copy(tiny, monkeypatch):
    seen = []

    def record(predicted, true):
        seen.append(true.clone())
        return 0.0

    module = "tests.unit.metrics.test_depth"
    monkeypatch.setattr(f"{module}.nothing", record)
    metrics = f"first: '{module}:in_place', near: '{module}:near', last: '{module}:nothing'"
    try_own_metrics(load_configuration(tiny, [*CLOSED, f"evaluation.metrics={{{metrics}}}"]))
    (true,) = seen  # `in_place` has changed its own copy only
    assert float(true.min()) > 0.3
    assert float(true.max()) < 6
    assert int((true < 0.4).sum()) > 64
    assert int((true > 5).sum()) > 64


def test_arrays_have_the_metrics_of_tensors():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.5, 5, (2, 1, 6, 8))
    predicted, mask = true * rng.uniform(0.8, 1.2, true.shape), rng.random(true.shape) < 0.7
    arrays = depth(predicted, true, mask)
    assert arrays == depth(*map(torch.from_numpy, (predicted, true, mask)))
    turned = (predicted[..., ::-1].astype(">f8"), true[..., ::-1], mask[..., ::-1].astype(np.uint8))
    assert depth(*turned) == pytest.approx(arrays, rel=1e-12)
    relative = np.abs(predicted - true) / true
    expected = np.mean([relative[image][mask[image]].mean() for image in range(2)])
    assert arrays["abs_rel"] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"one shape \[B, 1, H, W\] .* found \[6, 8\], \[6, 8\]"):
        depth(predicted[0, 0], true[0, 0])
