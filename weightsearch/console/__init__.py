"""Progress, results and tables on the screen. Apart from the commands, this is the only package that prints."""

from weightsearch.console.live import View, follow, progress_group
from weightsearch.console.results import (
    print_claims,
    print_compared,
    print_costs,
    print_data_check,
    print_metrics,
    print_quantisation,
    print_result,
    print_verdict,
)
from weightsearch.console.streams import err, out, warn

__all__ = [
    "View",
    "err",
    "follow",
    "out",
    "print_claims",
    "print_compared",
    "print_costs",
    "print_data_check",
    "print_metrics",
    "print_quantisation",
    "print_result",
    "print_verdict",
    "progress_group",
    "warn",
]
