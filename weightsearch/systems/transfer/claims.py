"""Claims of the weighted MAE, edge and SSIM loss over a pretrained encoder (arXiv 2404.07686)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from weightsearch.systems.claim import HOLDS, PREMISE, UNSUPPORTED, Claim, Rows, listed

SOURCE: Final = "transfer"
row: Final = Rows(SOURCE)
BY_TRAINING: Final = "weighted_beats_single"
PAPER: Final = "arXiv 2404.07686"
TABLE: Final = (
    f"{PAPER}, results on NYU Depth v2: EfficientNet's figures as in the abstract, DenseNet169's as noted from the "
    "table, whose other rows could not be read"
)

# RMSE in metres, REL, log10.
METRICS: Final = ("RMSE", "REL", "log10")
RESULTS: Final[Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {"EfficientNet": (0.386, 0.113, 0.049), "DenseNet169": (0.408, 0.119, 0.051)}
)
WEIGHTS: Final = (0.6, 0.2, 1.0)  # of MAE, edge, SSIM


def _changes() -> list[float]:
    """Relative differences of EfficientNet from DenseNet169 in percent (positive: lower), by metric."""
    best, other = RESULTS["EfficientNet"], RESULTS["DenseNet169"]
    return [100 * (b - a) / b for a, b in zip(best, other, strict=True)]


def _best_encoder() -> Claim:
    changes = _changes()
    return row(
        "best_encoder",
        "EfficientNet has the lowest RMSE, REL and log10: .386, .113 and .049",
        all(change > 0 for change in changes),
        f"by its own figures it is {listed(changes, '.1f')} % lower than DenseNet169 in {'/'.join(METRICS)}",
        "the table's own figures, column by column",
        {f"{metric}_percent": change for metric, change in zip(METRICS, changes, strict=True)},
        TABLE,
    )


def _rounding() -> Claim:
    """Smallest and largest differences that are consistent with the rounded figures."""
    half = 0.0005
    spans = {
        metric: tuple(100 * ((b + sign * half) - (a - sign * half)) / (b + sign * half) for sign in (-1, 1))
        for metric, a, b in zip(METRICS, RESULTS["EfficientNet"], RESULTS["DenseNet169"], strict=True)
    }
    words = ", ".join(f"{metric} {low:.1f} to {high:.1f} %" for metric, (low, high) in spans.items())
    numbers = {
        f"{metric}_{end}": span[index] for metric, span in spans.items() for index, end in enumerate(("low", "high"))
    }
    return row(
        "significant_improvement",
        "the improvements in accuracy and robustness are significant",
        UNSUPPORTED,
        f"the known figures are single values without a spread over seeds; their rounding alone allows differences of "
        f"{words}, and their significance cannot be decided from them",
        "each figure may be off by half of its last digit",
        numbers,
        f"{PAPER}, abstract",
    )


def _columns_agree() -> Claim:
    """REL against log10: for small errors |log10(1 + e)| is about |e| / ln 10."""
    expected = {name: row[1] / math.log(10) for name, row in RESULTS.items()}
    ratios = {name: row[2] / expected[name] for name, row in RESULTS.items()}
    words = ", ".join(f"{name} {expected[name]:.3f} against {RESULTS[name][2]:.3f}" for name in RESULTS)
    return row(
        "rel_and_log10_agree",
        "its REL and log10 belong to the same predictions",
        all(abs(ratio - 1) < 0.05 for ratio in ratios.values()),
        f"for small errors log10 should be near REL / ln 10: {words}",
        "|log10(1 + e)| = |e| / ln 10 to first order",
        {f"{name}_expected": value for name, value in expected.items()},
        TABLE,
    )


def _three_weights() -> Claim:
    """Three weights have two degrees of freedom: a common factor changes next to nothing under Adam."""
    doubled = [2 * weight for weight in WEIGHTS]
    shares = [[weight / sum(weights) for weight in weights] for weights in (WEIGHTS, doubled)]
    same = all(math.isclose(a, b) for a, b in zip(*shares, strict=True))
    words = f"{WEIGHTS[0] / WEIGHTS[2]:g} and {WEIGHTS[1] / WEIGHTS[2]:g}"
    return row(
        "three_weights",
        "three weights, .6, .2 and 1, are found by grid and random search",
        PREMISE if same else HOLDS,
        f"only two ratios matter, MAE and edge over SSIM ({words}): a common factor leaves the shares of the terms at "
        f"{listed([100 * share for share in shares[0]], '.1f')} %, and Adam's step hardly changes",
        "the weights' shares before and after all are doubled",
        {"mae_over_ssim": WEIGHTS[0] / WEIGHTS[2], "edge_over_ssim": WEIGHTS[1] / WEIGHTS[2]},
        PAPER,
    )


def _beats_single() -> Claim:
    return row.by_training(
        BY_TRAINING,
        "the weighted loss consistently outperforms its single terms",
        "the known figures have no spread over seeds; training decides: see the evidence of a study with the single "
        "terms among its baselines, such as transfer_ablation",
        PAPER,
    )


CLAIMS: Final[tuple[Callable[[], Claim], ...]] = (
    _best_encoder,
    _rounding,
    _columns_agree,
    _three_weights,
    _beats_single,
)
