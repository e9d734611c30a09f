"""Claims in tables and summaries of the dual head's weight justification, compared with its other figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from weightsearch.systems.claim import Claim, at, listed, rounds_to
from weightsearch.systems.dual_head.claims import (
    DEPTHS,
    DOCUMENT,
    HEAD_ERROR,
    MAX_DEPTH,
    MIN_DEPTH,
    PUBLISHED_LOSSES,
    WEIGHTS,
    row,
    shares_with_consistency,
)
from weightsearch.systems.dual_head.quantisation import relative_errors

NECESSITY: Final = "DUAL_HEAD_WEIGHT_NECESSITY_ANALYSIS, section 1"
EXPLAINED: Final = "CONSISTENCY_WEIGHT_AND_48_LEVELS_EXPLANATION"
VALIDATION: Final = "NUMERICAL_VALIDATION_RESULTS"

# Section 3.1, as printed: relative errors in percent at DEPTHS, and the column of their ratio.
INTEGER_COLUMN: Final = (0.97, 0.49, 0.33, 0.20, 0.10, 0.07)
FRACTIONAL_COLUMN: Final = (1.00, 0.50, 0.33, 0.20, 0.10, 0.07)
RATIO_COLUMN: Final = ".97/.98/.99/.99/1.00/1.00"
# Table of performance: fractional weight -> (abs_rel, RMSE in metres).
PERFORMANCE: Final[Mapping[float, tuple[float, float]]] = MappingProxyType(
    {
        1.0: (0.052, 0.22),
        2.0: (0.048, 0.18),
        5.0: (0.042, 0.14),
        10.0: (0.040, 0.10),
        15.0: (0.041, 0.11),
        20.0: (0.044, 0.15),
        30.0: (0.048, 0.20),
    }
)
THRESHOLD: Final = 0.105  # RMSE in metres up to which the document calls a weight acceptable
RANGE: Final = (5.0, 15.0)


def _ratio_column() -> Claim:
    own = [a / b for a, b in zip(INTEGER_COLUMN, FRACTIONAL_COLUMN, strict=True)]
    right = [
        a / b
        for a, b in zip(
            relative_errors(MAX_DEPTH * HEAD_ERROR, DEPTHS), relative_errors(HEAD_ERROR, DEPTHS), strict=True
        )
    ]
    return row(
        "ratio_column",
        f"the ratio of the integer to the fractional relative error at 1/2/3/5/10/15 m is {RATIO_COLUMN}",
        rounds_to(RATIO_COLUMN, right),
        f"{listed(right, '.0f')}; even its own two columns give {listed(own, '.2f')}",
        "15 m times .01 against 1 m times .01 over the same depth; the printed columns divided",
        at("at_{:g}_m", DEPTHS, right) | at("own_at_{:g}_m", DEPTHS, own),
        f"{DOCUMENT}, section 3.1",
    )


def _range(name: str, claimed: str, claim: str, metres: float, column: Sequence[float], where: str) -> Claim:
    """Compare a claimed range of relative errors with the document's table and with the error in metres."""
    largest, smallest = (100 * error for error in relative_errors(metres, [MIN_DEPTH, MAX_DEPTH]))
    low, high = min(column), max(column)
    return row(
        name,
        claim,
        rounds_to(claimed, [smallest, largest]),
        f"from {smallest:.2g} % at {MAX_DEPTH:g} m to {largest:.2g} % at {MIN_DEPTH:g} m; its own table has {low:g} to "
        f"{high:g} %",
        f"{1000 * metres:.0f} mm (a change of {HEAD_ERROR:g}) over the depth",
        {"smallest_percent": smallest, "largest_percent": largest, "own_smallest": low, "own_largest": high},
        where,
    )


def _integer_range() -> Claim:
    claim = "the integer head's relative error varies from 0.97 % to 200 %; in the conclusion from 0.07 % to 200 %"
    return _range(
        "integer_error_range",
        "0.97/200",
        claim,
        MAX_DEPTH * HEAD_ERROR,
        INTEGER_COLUMN,
        f"{DOCUMENT}, sections 3.2 and 10.1",
    )


def _fractional_range() -> Claim:
    claim = "the fractional head's relative error stays at 1 to 2 %"
    return _range(
        "fractional_error_range", "1/2", claim, HEAD_ERROR, FRACTIONAL_COLUMN, f"{DOCUMENT}, sections 3.2 and 10.1"
    )


def _amplification() -> Claim:
    right = WEIGHTS[1] * PUBLISHED_LOSSES[1] / (WEIGHTS[0] * PUBLISHED_LOSSES[0])
    return row(
        "amplification",
        "the gradients' ratio at weights 1 : 10 is 9.62 : 1 (9.6 : 1 in section 5.2)",
        rounds_to("9.62", [right]),
        f"its own losses give {right:.2f}; and a gradient of L1 terms is 1 : {WEIGHTS[1] / WEIGHTS[0]:.0f} whatever "
        "the losses are",
        f"10 times {PUBLISHED_LOSSES[1]:g} over {PUBLISHED_LOSSES[0]:g}",
        {"by_own_losses": right, "of_l1_terms": WEIGHTS[1] / WEIGHTS[0]},
        f"{DOCUMENT}, appendix",
    )


def _balance() -> Claim:
    integer, fractional = PUBLISHED_LOSSES
    shares = {weight: 100 * integer / (integer + weight * fractional) for weight in (1.0, WEIGHTS[1])}
    even = integer / fractional
    balanced = abs(shares[WEIGHTS[1]] - 50) < abs(shares[1.0] - 50)
    return row(
        "balanced_by_10",
        "weights 1 : 10 balance the two heads",
        balanced,
        f"they take the integer head's share of the loss from {shares[1.0]:.1f} to {shares[WEIGHTS[1]]:.1f} %; the "
        f"shares are equal at a weight of {even:.2f}",
        "the published losses, weighted",
        {"share_at_1": shares[1.0], "share_at_10": shares[WEIGHTS[1]], "even_weight": even},
        f"{DOCUMENT}, sections 4.3 and 10.1",
    )


def _all_justify() -> Claim:
    bits = 8 / 5.58  # as printed
    even = PUBLISHED_LOSSES[0] / PUBLISHED_LOSSES[1]
    gradient = 1.0  # of two L1 terms, before weights
    own = {"information": bits, "loss balance": even, "gradient": gradient}
    return row(
        "all_justify_1_to_10",
        "relative error, loss balance, information and gradients all justify 1 : 10",
        all(abs(value - WEIGHTS[1]) < 0.5 for value in own.values()),
        f"its information argument gives 1 : {bits:.2f}, equal shares of its losses 1 : {even:.2f}, equal gradients of "
        f"L1 terms 1 : {gradient:.0f}, and relative errors give no number: none of the four gives {WEIGHTS[1]:g}",
        "8.00 over 5.58 bits; the ratio of the losses; the ratio of two L1 terms' gradients",
        {"by_information": bits, "by_losses": even, "by_gradients": gradient},
        f"{DOCUMENT}, section 10.2",
    )


def _acceptable() -> Claim:
    inside = [weight for weight in PERFORMANCE if RANGE[0] <= weight <= RANGE[1]]
    accepted = [weight for weight in PERFORMANCE if PERFORMANCE[weight][1] <= THRESHOLD]
    figures = ", ".join(f"{PERFORMANCE[weight][1]:.2f} at {weight:g}" for weight in inside)
    return row(
        "acceptable_range",
        f"every fractional weight from {RANGE[0]:g} to {RANGE[1]:g} has an RMSE of at most {THRESHOLD:g} m",
        set(inside) <= set(accepted),
        f"by its own table {', '.join(f'{weight:g}' for weight in accepted)} alone: the RMSE is {figures}",
        "the table's RMSE against the threshold; no trainings are published with it",
        {f"rmse_at_{weight:g}": PERFORMANCE[weight][1] for weight in inside},
        NECESSITY,
    )


def _consistency_shares() -> Claim:
    """The worked example of 8.5 m: heads .534 and .49 against .533 (8 / 15) and .5, errors as printed."""
    terms = (0.001, 0.01, 0.01)
    weighted = [weight * term for weight, term in zip(WEIGHTS, terms, strict=True)]
    shares = [100 * value / sum(weighted) for value in weighted]
    return row(
        "consistency_shares",
        "integer, fractional and consistency contribute about 9/87/4 %",
        all(abs(a - b) < 1 for a, b in zip((9, 87, 4), shares, strict=True)),
        f"the document's own example gives {listed(shares, '.1f')} %, the simulation of the justification "
        f"{listed(shares_with_consistency(), '.1f')} %",
        "1, 10 and .5 times the printed terms .001, .01 and .01",
        {f"share_{name}": share for name, share in zip(("integer", "fractional", "consistency"), shares, strict=True)},
        EXPLAINED,
    )


def _consistency_example() -> Claim:
    depth, integer, fractional = 8.5, 0.534, 0.49
    decoded = MAX_DEPTH * integer + fractional
    error = abs(decoded - depth)
    return row(
        "consistency_example",
        "heads of .534 and .49 decode to 8.51 m, off by .01 m from 8.5 m",
        rounds_to("8.51/.01", [decoded, error]),
        f"they decode to {decoded:.2f} m, off by {error:.3f} m: the two heads' errors cancel in the decoded depth",
        "15 times .534 plus .49",
        {"decoded_m": decoded, "error_m": error},
        EXPLAINED,
    )


def _documents() -> Claim:
    """The two documents disagree: shares of 51/49 % (1.04 : 1) in the justification, 99.6/.4 % (252 : 1) here."""
    first, second, step = 100 * PUBLISHED_LOSSES[0] / sum(PUBLISHED_LOSSES), 99.6, 1.221  # as printed, the last in mm
    ratio = first / (100 - first), second / (100 - second)
    weighted = 100 * second / (second + WEIGHTS[1] * (100 - second))
    return row(
        "two_documents",
        f"simulated without weights the integer head has {second:g} % of the loss (252 : 1), with 1 : 10 it has 96.2 %",
        abs(first - second) < 1,
        f"the shares fit each other ({second:g} % becomes about {weighted:.0f} % with 1 : {WEIGHTS[1]:g}), but the "
        f"justification has {first:.1f} % and {ratio[0]:.2f} : 1 for the same simulation; and a metre in 256 steps has "
        f"{1000 / 256:.3f} mm each, not the printed {step:g} mm",
        "the shares of both documents against each other",
        {"share_of_the_other": first, "ratio": ratio[1], "share_at_10": weighted, "step_mm": 1000 / 256},
        VALIDATION,
    )


CLAIMS: Final[tuple[Callable[[], Claim], ...]] = (
    _ratio_column,
    _integer_range,
    _fractional_range,
    _amplification,
    _balance,
    _all_justify,
    _acceptable,
    _consistency_shares,
    _consistency_example,
    _documents,
)
