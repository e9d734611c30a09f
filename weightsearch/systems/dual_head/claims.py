"""Claims of a weight justification of a dual-head depth network (1 : 10 : 0.5), with recomputed figures.

Documents: those of the public repository packnet-sfm-resnet-san, November 2025."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import numpy as np

from weightsearch.systems.claim import (
    HOLDS,
    NOT_REPRODUCED,
    ONE_SEED,
    PREMISE,
    VACUOUS,
    WRONG,
    Claim,
    Rows,
    at,
    listed,
    rounds_to,
)
from weightsearch.systems.dual_head.noise_model import Losses, expected_error, simulate, unclipped_error
from weightsearch.systems.dual_head.quantisation import interval_shares, quantisation, relative_errors

SOURCE: Final = "dual head"
row: Final = Rows(SOURCE)
BY_TRAINING: Final = "best_weights"
DOCUMENT: Final = "DUAL_HEAD_LOSS_WEIGHT_JUSTIFICATION"

# The published system: depth range in metres, assumed error of a head, noise of the simulation, weights.
MAX_DEPTH: Final = 15.0
MIN_DEPTH: Final = 0.5
HEAD_ERROR: Final = 0.01
SIGMA: Final = 0.05
WEIGHTS: Final = (1.0, 10.0, 0.5)
PUBLISHED_LOSSES: Final = (0.0389, 0.0374)
DEPTHS: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 15.0)


def _sensitivity() -> Claim:
    integer, fractional = MAX_DEPTH * HEAD_ERROR * 1000, HEAD_ERROR * 1000
    holds = rounds_to("150/10/15", [integer, fractional, integer / fractional])
    metres = f"{MAX_DEPTH:g} m times {HEAD_ERROR:g} against 1 m times {HEAD_ERROR:g}"
    return row(
        "sensitivity",
        "a change of .01 is 150 mm in the integer head, 10 mm in the fractional one: 15 times",
        holds,
        f"{integer:.0f} mm, {fractional:.0f} mm: {integer / fractional:.0f} times",
        metres,
        {"integer_mm": integer, "fractional_mm": fractional, "ratio": integer / fractional},
        f"{DOCUMENT}, section 2",
    )


def _integer_interval() -> Claim:
    quantised = quantisation(max_depth=MAX_DEPTH, min_depth=MIN_DEPTH, bits=8)
    step = quantised.single.step * 1000
    holds = rounds_to("312.5/5.58", [step, quantised.target_bits])
    return row(
        "integer_interval",
        "the integer head has 48 levels: intervals of 312.5 mm, 5.58 bits",
        holds,
        f"48 is the height of a feature map, not a number of levels; an 8-bit step is {step:.1f} mm; the integer "
        f"target has {quantised.targets} values, of entropy {quantised.target_bits:.2f} bits for evenly spread depth",
        "15 m / 48 and log2 48 give the claimed figures; 15 m / 255, and the entropy of floor(y) for y over .5-15 m",
        {
            "claimed_mm": MAX_DEPTH / 48 * 1000,
            "claimed_bits": math.log2(48),
            "step_mm": step,
            "targets": quantised.targets,
            "bits": quantised.target_bits,
        },
        f"{DOCUMENT}, sections 2 and 6.1; 48 is explained as 384 / 8 rows of a feature map in another document there",
    )


def _fractional_interval() -> Claim:
    by_256, by_255 = 1000 / 256, 1000 / 255
    return row(
        "fractional_interval",
        "the fractional head has intervals of 3.9 mm, 8.00 bits",
        rounds_to("3.9/3.9/8.00", [by_256, by_255, math.log2(256)]),
        f"{by_256:.3f} mm (1 m / 256) or {by_255:.3f} mm (1 m / 255)",
        "1 m over the number of levels, or of steps between them",
        {"by_256_mm": by_256, "by_255_mm": by_255},
        f"{DOCUMENT}, sections 2 and 6.1",
    )


def _integer_relative() -> Claim:
    claimed = ".97/.49/.33/.20/.10/.07"
    claim = f"the integer head's relative error at 1/2/3/5/10/15 m is {claimed} %"
    return _relative("integer_relative_error", claim, claimed, MAX_DEPTH * HEAD_ERROR, 3)


def _fractional_relative() -> Claim:
    claimed = "1/.5/.33/.2/.1/.07"
    claim = f"the fractional head's relative error there is {claimed} %"
    return _relative("fractional_relative_error", claim, claimed, HEAD_ERROR, 2)


def _relative(name: str, claim: str, claimed: str, metres: float, digits: int) -> Claim:
    """A claim about a head's relative errors in percent. metres: the head's error, equal at every depth."""
    right = [100 * error for error in relative_errors(metres, DEPTHS)]
    return row(
        name,
        claim,
        rounds_to(claimed, right),
        f"{'/'.join(f'{value:.{digits}g}' for value in right)} %",
        f"{1000 * metres:.0f} mm (a change of .01) over the depth",
        at("at_{:g}_m_percent", DEPTHS, right),
        f"{DOCUMENT}, section 3.1",
    )


def _independence() -> Claim:
    fractional = relative_errors(HEAD_ERROR, DEPTHS)
    integer = relative_errors(MAX_DEPTH * HEAD_ERROR, DEPTHS)
    ratios = [a / b for a, b in zip(integer, fractional, strict=True)]
    return row(
        "independence_of_depth",
        "the fractional head's relative error does not depend on depth",
        math.isclose(fractional[0], fractional[-1]),
        f"it falls as 1/depth ({fractional[0] / fractional[-1]:.0f} times from 1 to 15 m), as the integer one does; "
        f"their ratio is {ratios[0]:.0f} everywhere",
        "the same errors in metres over the depth",
        {"fall": fractional[0] / fractional[-1], "ratio_at_1_m": ratios[0], "ratio_at_15_m": ratios[-1]},
        f"{DOCUMENT}, section 3.2",
    )


def _largest_relative() -> Claim:
    right = 100 * relative_errors(MAX_DEPTH * HEAD_ERROR, [MIN_DEPTH])[0]
    return row(
        "largest_relative_error",
        "the integer head's relative error reaches 200 %",
        HOLDS if rounds_to("200", [right]) else NOT_REPRODUCED,
        f"{right:.0f} % at {MIN_DEPTH:g} m, the smallest depth",
        f"{1000 * MAX_DEPTH * HEAD_ERROR:.0f} mm over {MIN_DEPTH:g} m",
        {"percent": right},
        f"{DOCUMENT}, sections 3.2 and 10.1",
    )


def _simulated_losses() -> Claim:
    shares = interval_shares(MIN_DEPTH, MAX_DEPTH)
    integer = sum(share * expected_error(whole / MAX_DEPTH, SIGMA) for whole, share in enumerate(shares))
    points, pixels, seeds = 2000, 1000, 4000
    fractional = sum(expected_error((i + 0.5) / points, SIGMA) for i in range(points)) / points
    drawn = [_drawn(pixels, seed) for seed in range(seeds)]
    spread = float(np.std([losses[0] for losses in drawn]))
    gaps = [losses[0] - losses[1] for losses in drawn]
    claimed = PUBLISHED_LOSSES[0] - PUBLISHED_LOSSES[1]
    beyond = sum(abs(gap) >= claimed for gap in gaps) / len(gaps)
    within = all(abs(a - b) < 3 * spread for a, b in zip(PUBLISHED_LOSSES, (integer, fractional), strict=True))
    expected = rounds_to(".0389/.0374", [integer, fractional])
    return row(
        "simulated_losses",
        "simulated losses are .0389 (integer) and .0374 (fractional), a split of 51 to 49 %",
        HOLDS if expected else ONE_SEED if within else WRONG,
        f"expected {_small(integer)} and {_small(fractional)} ({_small(unclipped_error(SIGMA))} without clipping), "
        f"with standard deviation {_small(spread)} of {pixels} pixels: the split is noise; a gap of this size or more "
        f"comes with {100 * beyond:.0f} % of all seeds",
        f"E|clip(t + e) - t| for e ~ N(0, {SIGMA:g}) over the targets of evenly spread depth; {seeds} seeds of "
        f"{pixels} pixels",
        {
            "integer": integer,
            "fractional": fractional,
            "unclipped": unclipped_error(SIGMA),
            "spread": spread,
            "share_of_seeds_with_such_a_gap": beyond,
        },
        f"{DOCUMENT}, section 4.2",
    )


def _split_of(weight: float, losses: tuple[float, float] = PUBLISHED_LOSSES) -> tuple[float, float]:
    """Contributions in % of the integer and the weighted fractional term. losses: by default the published ones."""
    integer, fractional = losses[0], weight * losses[1]
    return 100 * integer / (integer + fractional), 100 * fractional / (integer + fractional)


def _split_ten() -> Claim:
    integer, fractional = _split_of(10)
    return row(
        "split_1_to_10",
        "weights 1 : 10 give contributions of 9.4 and 90.6 %",
        rounds_to("9.4/90.6", [integer, fractional]),
        f"{integer:.2f} and {fractional:.2f} %",
        f"{_small(PUBLISHED_LOSSES[0])} against 10 times {_small(PUBLISHED_LOSSES[1])}",
        {"integer_percent": integer, "fractional_percent": fractional},
        f"{DOCUMENT}, sections 4.2 and 8.2",
    )


def _split_others() -> Claim:
    five, twenty = _split_of(5), _split_of(20)
    even_five, even_twenty = _split_of(5, (1.0, 1.0)), _split_of(20, (1.0, 1.0))
    holds = rounds_to("16.7/83.3/4.7/95.3", [*five, *twenty])
    explained = {
        "1 : 5": rounds_to("16.7/83.3", even_five),
        "1 : 20": rounds_to("4.7/95.3", even_twenty),
    }
    words = "; ".join(
        f"the figures of {pair} are {'those' if same else 'not even those'} of equal losses, {even[0]:.2f} and "
        f"{even[1]:.2f} %"
        for (pair, same), even in zip(explained.items(), (even_five, even_twenty), strict=True)
    )
    return row(
        "split_1_to_5_and_20",
        "weights 1 : 5 give 16.7 and 83.3 %, 1 : 20 give 4.7 and 95.3 %",
        holds,
        f"{five[0]:.1f} and {five[1]:.1f} %; {twenty[0]:.2f} and {twenty[1]:.2f} %, by its own losses; {words}",
        f"{_small(PUBLISHED_LOSSES[0])} against 5 and 20 times {_small(PUBLISHED_LOSSES[1])}; 1 against 5 and 20",
        {
            "integer_percent_5": five[0],
            "fractional_percent_5": five[1],
            "integer_percent_20": twenty[0],
            "fractional_percent_20": twenty[1],
            "equal_losses_integer_5": even_five[0],
            "equal_losses_integer_20": even_twenty[0],
            "equal_losses_fractional_20": even_twenty[1],
        },
        f"{DOCUMENT}, sections 8.1 and 8.3",
    )


def _gradients() -> Claim:
    pixels = 1000
    random = np.random.default_rng(0)
    ratios: list[float] = []
    for size in (SIGMA, SIGMA / 10):  # the fractional loss itself, and a tenth of it
        integer = WEIGHTS[0] * np.sign(random.normal(0, SIGMA, pixels)) / pixels
        fractional = WEIGHTS[1] * np.sign(random.normal(0, size, pixels)) / pixels
        ratios.append(float(np.linalg.norm(fractional) / np.linalg.norm(integer)))
    return row(
        "gradient_ratio",
        "a head's gradient is proportional to its loss, so that weights 1 : 10 turn 1.04 : 1 into 9.6 : 1",
        rounds_to("9.6/0.96", ratios),
        f"the gradient of an L1 term is weight * sign(error) / N: 1 : 1 becomes 1 : {ratios[0]:.0f}, and it is still "
        f"1 : {ratios[1]:.0f} with a tenth of the fractional loss",
        "norms of the gradients of |e| / N for drawn errors, of the same size and of a tenth",
        {"ratio": ratios[0], "ratio_at_a_tenth_of_the_loss": ratios[1]},
        f"{DOCUMENT}, section 5",
    )


def _optimum() -> Claim:
    def slope(term: int, weights: tuple[float, float], step: float = 1e-3) -> float:
        def total(values: Sequence[float]) -> float:
            return sum(weight * loss for weight, loss in zip(values, PUBLISHED_LOSSES, strict=True))

        moved = [weight + step * (index == term) for index, weight in enumerate(weights)]
        return (total(moved) - total(weights)) / step

    ratios = [slope(1, pair) / slope(0, pair) for pair in ((1.0, 1.0), (1.0, 10.0), (1.0, 100.0))]
    same = max(ratios) - min(ratios) < 1e-6
    return row(
        "optimum_condition",
        "the optimum is where (dL/dw_fractional) / (dL/dw_integer) equals the ratio of bits",
        VACUOUS if same else HOLDS,
        f"dL/dw_k = L_k whatever the weights: the ratio is {ratios[0]:.3f} at 1 : 1, 1 : 10 and 1 : 100 alike",
        "differences of the weighted sum in each weight",
        {"at_1": ratios[0], "at_10": ratios[1], "at_100": ratios[2]},
        f"{DOCUMENT}, section 9.2",
    )


def _bits() -> Claim:
    bits = quantisation(max_depth=MAX_DEPTH, min_depth=MIN_DEPTH, bits=8).target_bits
    claimed, right = 8 / math.log2(48), 8 / bits
    arithmetic = rounds_to("1.43/7", [claimed, 10 / claimed])
    return row(
        "bits_ratio",
        "the ratio of bits is 1.43, so that 1 : 10 is 7 times as much as needed",
        PREMISE if arithmetic and not math.isclose(claimed, right, rel_tol=0.01) else HOLDS if arithmetic else WRONG,
        f"with the target's {bits:.2f} bits the ratio is {right:.2f}, with two 8-bit heads 1; none of them says what "
        "weights train best",
        "8 bits over log2 48, over the entropy of the integer target, over 8",
        {"claimed": claimed, "factor": 10 / claimed, "by_entropy": right, "by_heads": 8 / 8},
        f"{DOCUMENT}, sections 6.2 and 9.3",
    )


@cache
def simulated() -> Losses:
    """Run the published simulation with a million pixels."""
    return simulate(1_000_000, sigma=SIGMA, max_depth=MAX_DEPTH, min_depth=MIN_DEPTH, weights=WEIGHTS, seed=0)


def shares_with_consistency() -> list[float]:
    """Contributions in % of the integer, fractional (published losses) and consistency term (simulated loss)."""
    terms = (*PUBLISHED_LOSSES, simulated().consistency)
    weighted = [weight * term for weight, term in zip(WEIGHTS, terms, strict=True)]
    return [100 * value / sum(weighted) for value in weighted]


def _consistency() -> Claim:
    losses, shares = simulated(), shares_with_consistency()
    left_out = shares[2] < 5
    return row(
        "consistency_left_out",
        "the consistency term can be left out of the balance",
        left_out,
        f"it is {losses.consistency:.3f} m in that simulation: shares {listed(shares, '.1f')} %; the "
        f"gradients at the heads are {losses.gradients[0]:.2f} : {losses.gradients[1]:.2f}, since it sends "
        f"{WEIGHTS[2]:g} * {MAX_DEPTH:g} into the integer head",
        "the same simulation with a million pixels and linear decoding; mean size of the gradient at a pixel",
        {
            "consistency_m": losses.consistency,
            "integer_percent": shares[0],
            "fractional_percent": shares[1],
            "consistency_percent": shares[2],
            "integer_gradient": losses.gradients[0],
            "fractional_gradient": losses.gradients[1],
        },
        f"{DOCUMENT}, sections 4 and 10, which weigh the two heads alone",
    )


def _convergence() -> Claim:
    return row.by_training(
        BY_TRAINING,
        "a table of epochs 5 to 30 shows that 1 : 10 is optimal",
        "the table is headed as expected progress and no logs were published; training decides which weights are best: "
        "see the evidence of a study with 1 : 10 among its baselines",
        f"{DOCUMENT}, section 7",
    )


def _drawn(pixels: int, seed: int) -> tuple[float, float]:
    losses = simulate(pixels, sigma=SIGMA, max_depth=MAX_DEPTH, min_depth=MIN_DEPTH, weights=WEIGHTS, seed=seed)
    return losses.integer, losses.fractional


def _small(value: float) -> str:
    """Format with four decimals and no leading zero."""
    return f"{value:.4f}".lstrip("0")


CLAIMS: Final[tuple[Callable[[], Claim], ...]] = (
    _sensitivity,
    _integer_interval,
    _fractional_interval,
    _integer_relative,
    _fractional_relative,
    _independence,
    _largest_relative,
    _simulated_losses,
    _split_ten,
    _split_others,
    _gradients,
    _optimum,
    _bits,
    _consistency,
    _convergence,
)
