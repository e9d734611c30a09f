"""Published claims about loss weights, and their corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from weightsearch.errors import CALL, called

HOLDS: Final = "holds"
WRONG: Final = "wrong"
ONE_SEED: Final = "holds for one seed"
VACUOUS: Final = "vacuous"
PREMISE: Final = "arithmetic holds, premise wrong"
NOT_REPRODUCED: Final = "not reproduced"
UNSUPPORTED: Final = "unsupported"
NOT_CHECKED: Final = "not checked: the printed form is not known here"


@dataclass(frozen=True)
class Claim:
    """A published claim, with its verdict and correction.

    name: short, unique. claimed, right: the claim and the correct statement, in words with figures. numbers: computed
    figures, by name. how: the computation. where: the document, and the form assumed if it could not be read.
    evidence: measurements of a study.
    """

    name: str
    source: str
    claimed: str
    verdict: str
    right: str
    how: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    where: str = ""
    evidence: str = ""

    @property
    def with_place(self) -> str:
        """The claim, with its location in the document."""
        return f"{self.claimed} [{self.where}]" if self.where else self.claimed

    @property
    def with_evidence(self) -> str:
        """The correct statement, with the study's evidence."""
        return f"{self.right}. Evidence: {self.evidence}" if self.evidence else self.right

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Rows:
    """Builder of the claims of one source."""

    source: str

    def __call__(
        self,
        name: str,
        claimed: str,
        verdict: str | bool,
        right: str,
        how: str,
        numbers: Mapping[str, float],
        where: str,
    ) -> Claim:
        """Build a claim. verdict: words, or True for `holds` and False for `wrong`."""
        words = verdict if isinstance(verdict, str) else HOLDS if verdict else WRONG
        return Claim(name, self.source, claimed, words, right, how, dict(numbers), where)

    def by_training(self, name: str, claimed: str, right: str, where: str) -> Claim:
        """Build a claim that only the trials of a study can verify."""
        return self(name, claimed, UNSUPPORTED, right, called(CALL, "analyse claims"), {}, where)


def rounds_to(claimed: str, right: Sequence[float]) -> bool:
    """Return True if values round to the claimed figures, such as `.97/.49/8.00`, at each figure's decimals."""
    figures = claimed.split("/")
    digits = [len(figure.partition(".")[2]) for figure in figures]
    pairs = zip(figures, right, digits, strict=True)
    return all(abs(float(figure) - value) <= 0.5 * 10**-count * (1 + 1e-9) for figure, value, count in pairs)


def at(form: str, labels: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Name -> value. form: format of the names, such as `at_{:g}_m` for depths."""
    return {form.format(label): value for label, value in zip(labels, values, strict=True)}


def listed(values: Sequence[float], form: str) -> str:
    """Format values, separated by slashes. form: such as `.2f`."""
    return "/".join(f"{value:{form}}" for value in values)
