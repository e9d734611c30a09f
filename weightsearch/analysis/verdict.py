"""The verdict on a study's best trial, and its wording; no other module decides or words it.

Verdicts come from the validation split. The test split is reported beside them and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from weightsearch.analysis.against_baselines import Comparison, Pair, compare_all
from weightsearch.errors import difference

VALIDATION: Final = "validation"
TEST: Final = "test"
COMPARE: Final = "weightsearch compare STUDY --seeds 3"
NAIVE: Final = "naive: "  # before an objective, in place of a baseline's name

Naive = Mapping[str, Mapping[str, Mapping[str, float]]]  # split -> trivial baseline -> objective -> value


@dataclass(frozen=True)
class Contender:
    """A set of weights. search: split -> objective -> value of its trial. fresh: split -> objective -> seed -> value of
    its trainings with fresh seeds, which took no part in the selection."""

    search: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fresh: Mapping[str, Mapping[str, Mapping[int, float]]] = field(default_factory=dict)

    def seeds(self, objective: str, split: str = VALIDATION) -> Mapping[int, float]:
        return self.fresh.get(split, {}).get(objective, {})

    def searched(self, objective: str, split: str = VALIDATION) -> float | None:
        return self.search.get(split, {}).get(objective)

    def expected(self, objective: str, split: str = VALIDATION) -> float | None:
        """The mean over fresh seeds or, without any, the value of the search."""
        fresh = list(self.seeds(objective, split).values())
        return float(np.mean(fresh)) if fresh else self.searched(objective, split)


@dataclass(frozen=True)
class Sentence:
    """warning: whether the text advises against using the best trial as it is."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class AgainstNaive:
    """The best trial compared with the best of the trivial baselines that ignore the image, in one objective."""

    objective: str
    name: str
    compared: Comparison
    minimize: bool

    @property
    def beaten(self) -> bool:
        """True if the best trial has at least the better mean."""
        found = self.compared
        better = found.best < found.other if self.minimize else found.best > found.other
        return better and found.verdict != "as good"


@dataclass(frozen=True)
class Verdict:
    """objective: the first objective. directions: objective -> minimize or maximize. baselines: comparisons of the best
    trial with each baseline on the validation split. naive: its comparisons with the trivial baselines, at most one an
    objective. trivial: values of the trivial baselines."""

    objective: str
    directions: Mapping[str, str]
    best: Contender
    others: Mapping[str, Contender]
    baselines: Mapping[str, Comparison]
    naive: Sequence[AgainstNaive]
    trivial: Naive

    @property
    def seeds(self) -> int:
        """The number of fresh seeds of the best trial on the validation split."""
        return len(self.best.seeds(self.objective))

    @property
    def tests(self) -> int:
        """The number of comparisons that share the 5 % of false verdicts."""
        return sum(one.p is not None for one in (*self.baselines.values(), *(each.compared for each in self.naive)))

    def on(self, split: str) -> dict[str, Comparison]:
        """The best trial compared with each baseline. On the test split the figures are for information only."""
        if split == VALIDATION:
            return dict(self.baselines)
        minimize = self.directions[self.objective] == "minimize"
        return compare_all(_pairs(self.best, self.others, self.objective, split, minimize=minimize))

    def sentences(
        self, name: str, remark: str = "", *, trials: int | None = None, compare: str = COMPARE
    ) -> list[Sentence]:
        """The verdict in plain words, warnings first. name: the best trial's name in a sentence. remark: added after
        the name. trials: from which the best was selected, None if unknown. compare: the command that trains the best
        trial and the baselines with fresh seeds."""
        lost = [one for one in self.naive if not one.beaten]
        said = [self._of_naive(one, name, remark, first=one in lost[:1]) for one in self.naive]
        if self.seeds > 1 or not lost:  # else its comparison with the trivial baseline says what to do
            said.append(self._of_baselines(name, remark, trials, compare))
        said.sort(key=lambda one: not one.warning)
        if self.tests:
            family = f" for all {self.tests} comparisons together (Holm's correction)" if self.tests > 1 else ""
            said.append(
                Sentence(
                    "Verdicts are from the validation split: differences over fresh seeds, ± half of their 95 % "
                    f"confidence interval; Student's t-test, at 5 %{family}."
                )
            )
        expected, lucky = self.best.expected(self.objective), self.best.searched(self.objective)
        if self.seeds > 1 and expected is not None and lucky is not None:
            said.append(
                Sentence(
                    f"The search found {self.objective} {lucky:.4g} on the validation split; the mean over fresh seeds "
                    f"is {expected:.4g}: expect that."
                )
            )
        if (tested := self._on_test()) is not None:
            said.append(tested)
        return said

    def _of_naive(self, one: AgainstNaive, name: str, remark: str, *, first: bool) -> Sentence:
        """first: whether it is the first objective in which the best trial is no better, where the advice is given."""
        found, objective = one.compared, one.objective
        count = len(self.best.seeds(objective))
        how = f"mean of {count} fresh seeds" if count > 1 else "one fresh seed" if count else "one seed"
        values = f"{objective} {found.best:.4g} against {found.other:.4g} on the validation split ({how})"
        tested = self.best.expected(objective, TEST)
        theirs = self.trivial.get(TEST, {}).get(one.name, {}).get(objective)
        if tested is not None and theirs is not None:
            values += f", {tested:.4g} against {theirs:.4g} on the test split"
        trivial = f"{one.name}, a trivial baseline that ignores the image"
        if not one.beaten:
            known = f" ({remark})" if first and remark and self.seeds < 2 else ""
            text = f"{_capital(name)}{known} is no better than {trivial}: {values}."
            if first:
                text += (
                    " Until it is better, comparing weights means little: train longer, or look for a mistake in data, "
                    "network or loss."
                )
            return Sentence(text, warning=True)
        if found.verdict == "undecided":
            return Sentence(f"{_capital(name)} is not significantly better than {trivial}: {values}.", warning=True)
        if found.verdict == "one seed":
            return Sentence(f"{_capital(name)} had a better value than {trivial}: {values}; one seed is no proof.")
        return Sentence(f"{_capital(name)} is better than {trivial}: {values}.")

    def _of_baselines(self, name: str, remark: str, trials: int | None, compare: str) -> Sentence:
        """The best trial compared with the baselines, grouped by outcome."""
        if self.seeds < 2:
            count = "many" if trials is None else trials
            why = f"It was trained with one seed and selected as the best of {count} trials, so its value is biased"
            if trials == 1:
                why = "It was trained with one seed, which shows no spread"
            if self.seeds:
                why = "It was trained with one fresh seed, which shows no spread"
            so_far = f"{name}{f', {remark}' if remark else ''}"
            return Sentence(f"The best so far is {so_far}. {why}; before relying on it: {compare}.")
        groups: dict[str, list[str]] = {}
        for label, found in self.baselines.items():
            words = f"“{label}”"
            if found.verdict == "undecided" and found.margin is not None:
                words += f" ({difference(found.change, found.margin)})"
            groups.setdefault(found.verdict, []).append(words)
        if worse := groups.get("worse"):
            verb = "is" if len(worse) == 1 else "are"
            return Sentence(
                f"Do not use {name}: over {self.seeds} fresh seeds {_listed(worse)} {verb} better.", warning=True
            )
        said = []
        if better := groups.get("better"):
            said.append(f"is better than {_listed(better)}")
        if same := groups.get("as good"):
            said.append(f"is within 1 % of {_listed(same)}: use the simplest of them")
        if undecided := groups.get("undecided"):
            said.append(f"is not significantly different from {_listed(undecided)}: too few seeds")
        if alone := groups.get("one seed"):
            said.append(f"was not compared with {_listed(alone)} over fresh seeds")
        if not said:
            return Sentence(
                f"{_capital(name)} was trained with {self.seeds} fresh seeds; there is no baseline to compare with."
            )
        usable = set(groups) == {"better"} and all(one.compared.verdict == "better" for one in self.naive)
        return Sentence(f"Over {self.seeds} fresh seeds {name} {'; it '.join(said)}.{' Use it.' if usable else ''}")

    def _on_test(self) -> Sentence | None:
        """The values on the test split, without a verdict."""
        mine = self.best.expected(self.objective, TEST)
        if mine is None:
            return None
        rows = {f"“{label}”": other.expected(self.objective, TEST) for label, other in self.others.items()}
        rows |= {label: known.get(self.objective) for label, known in self.trivial.get(TEST, {}).items()}
        values = [f"{label} {value:.4g}" for label, value in rows.items() if value is not None]
        beside = f"; {', '.join(values)}" if values else ""
        return Sentence(f"On the test split, for information only: {self.objective} {mine:.4g}{beside}.")


def judge(best: Contender, others: Mapping[str, Contender], trivial: Naive, directions: Mapping[str, str]) -> Verdict:
    """Compare the best trial with the baselines in the first objective, and with the trivial baselines in each. All
    comparisons over fresh seeds are corrected together. others: baselines by name. directions: objective -> minimize or
    maximize."""
    objective = next(iter(directions))
    strongest = {
        one: found for one, way in directions.items() if (found := _strongest(trivial.get(VALIDATION, {}), one, way))
    }
    pairs = _pairs(best, others, objective, VALIDATION, minimize=directions[objective] == "minimize")
    for one, (_, value) in strongest.items():
        mine = best.seeds(one) or _search(best, one, VALIDATION)
        pairs[NAIVE + one] = Pair(mine, value, directions[one] == "minimize")
    compared = compare_all(pairs)
    naive = [
        AgainstNaive(one, name, compared[NAIVE + one], directions[one] == "minimize")
        for one, (name, _) in strongest.items()
        if NAIVE + one in compared
    ]
    baselines = {label: compared[label] for label in others if label in compared}
    return Verdict(objective, directions, best, others, baselines, naive, trivial)


def _strongest(trivial: Mapping[str, Mapping[str, float]], objective: str, way: str) -> tuple[str, float] | None:
    known = {name: one[objective] for name, one in trivial.items() if objective in one}
    if not known:
        return None
    name = (min if way == "minimize" else max)(known, key=lambda each: known[each])
    return name, known[name]


def _pairs(
    best: Contender, others: Mapping[str, Contender], objective: str, split: str, *, minimize: bool
) -> dict[str, Pair]:
    """Values by common fresh seeds; without a common seed, the values of the search."""
    found: dict[str, Pair] = {}
    for label, other in others.items():
        mine, theirs = best.seeds(objective, split), other.seeds(objective, split)
        if not set(mine) & set(theirs):
            mine, theirs = _search(best, objective, split), _search(other, objective, split)
        found[label] = Pair(mine, theirs, minimize)
    return found


def _search(contender: Contender, objective: str, split: str) -> dict[int, float]:
    """The value of the search, under one seed."""
    value = contender.searched(objective, split)
    return {} if value is None else {0: value}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
