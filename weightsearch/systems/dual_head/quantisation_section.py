"""Section of a report about the quantisation errors of the two heads."""

from __future__ import annotations

from typing import Final

import pandas as pd

from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table
from weightsearch.systems.dual_head.evidence import is_about
from weightsearch.systems.dual_head.quantisation import Decode, quantisation, relative_errors

QUANTISED: Final = ["bits", "one_largest", "one_mean", "two_largest", "two_mean"]
DEPTHS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def quantisation_section(report: ReportData) -> Section | None:
    """Quantisation errors of the dual head; None for studies without it."""
    if not is_about(report):
        return None
    data, model = report.config.base.data, report.config.base.model.options
    deepest, low = float(model.get("max_depth", data.max_depth)), data.min_depth
    decode: Decode = "rounded" if model.get("decode") == "rounded" else "linear"
    rows = []
    for bits in (6, 8, 10, 12):
        quantised = quantisation(max_depth=float(deepest), min_depth=float(low), bits=bits, decode=decode)
        rows.append(
            [
                f"{bits} bits",
                f"{1000 * quantised.single.largest_error:.3g} mm",
                f"{1000 * quantised.single.mean_error:.3g} mm",
                f"{1000 * quantised.largest_error:.3g} mm",
                f"{1000 * quantised.mean_error:.3g} mm",
            ]
        )
    quantised = quantisation(max_depth=float(deepest), min_depth=float(low), bits=8, decode=decode)
    depths = [depth for depth in DEPTHS if low <= depth <= deepest]
    errors = [
        [name, *(f"{100 * share:.2g} %" for share in relative_errors(error, depths))]
        for name, error in (
            ("one 8-bit head", quantised.single.largest_error),
            ("two 8-bit heads", quantised.largest_error),
        )
    ]
    text = [
        f"Two heads over 0 to {deepest:g} m: the integer target has {quantised.targets} values "
        f"({quantised.target_bits:.2f} bits for evenly spread depth). Errors are those of rounding to the levels "
        f"alone; decoding is {decode}."
    ]
    columns = ["", "one head, largest", "mean", "two heads, largest", "mean"]
    tables = [Table(columns, rows)]
    if depths:
        tables.append(Table(["largest error at", *(f"{depth:g} m" for depth in depths)], errors))
    return Section("quantisation", "Quantised outputs", text, tables=tables, data=pd.DataFrame(rows, columns=QUANTISED))


SECTIONS: Final = {170: quantisation_section}
