"""The verdict on a study's best trial, and its wording. No other module decides or words it.

Verdicts are from the validation split. The test split is reported for information only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from weightsearch.analysis.against_baselines import Comparison, Pair, compare_all
from weightsearch.errors import difference
from weightsearch.records import TEST, VALIDATION

COMPARE: Final = "weightsearch compare STUDY --seeds 3"
NAIVE: Final = "naive: "  # prefix of an objective: the key of its comparison with a trivial baseline

Naive = Mapping[str, Mapping[str, Mapping[str, float]]]  # split -> trivial baseline -> objective -> value


@dataclass(frozen=True)
class Contender:
    """A set of weights. search: split -> objective -> value of its trial. retrained: split -> objective -> seed ->
    value of its trainings with new seeds, which took no part in the selection."""

    search: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    retrained: Mapping[str, Mapping[str, Mapping[int, float]]] = field(default_factory=dict)

    def seeds(self, objective: str, split: str = VALIDATION) -> Mapping[int, float]:
        return self.retrained.get(split, {}).get(objective, {})

    def searched(self, objective: str, split: str = VALIDATION) -> float | None:
        return self.search.get(split, {}).get(objective)

    def expected(self, objective: str, split: str = VALIDATION) -> float | None:
        """The mean over new seeds or, without any, the value of the search."""
        retrained = list(self.seeds(objective, split).values())
        return float(np.mean(retrained)) if retrained else self.searched(objective, split)


@dataclass(frozen=True)
class Sentence:
    """A sentence of the verdict. warning: whether the text advises against using the best trial as it is."""

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
        compared = self.compared
        better = compared.best < compared.other if self.minimize else compared.best > compared.other
        return better and compared.verdict != "as good"


@dataclass(frozen=True)
class Verdict:
    """The verdict on the best trial. objective: the first objective. directions: objective -> minimize or maximize.
    best: the best trial. others: baselines by name. baselines: comparisons of the best trial with each baseline on the
    validation split. naive: its comparisons with the trivial baselines, at most one for each objective. trivial: values
    of the trivial baselines."""

    objective: str
    directions: Mapping[str, str]
    best: Contender
    others: Mapping[str, Contender]
    baselines: Mapping[str, Comparison]
    naive: Sequence[AgainstNaive]
    trivial: Naive

    @property
    def seeds(self) -> int:
        """The number of new seeds of the best trial on the validation split."""
        return len(self.best.seeds(self.objective))

    @property
    def tests(self) -> int:
        """The number of comparisons that share the 5 % of false verdicts."""
        return sum(
            comparison.p is not None
            for comparison in (*self.baselines.values(), *(each.compared for each in self.naive))
        )

    def on(self, split: str) -> dict[str, Comparison]:
        """The best trial compared with each baseline. On the test split the figures are for information only."""
        if split == VALIDATION:
            return dict(self.baselines)
        minimize = self.directions[self.objective] == "minimize"
        return compare_all(_pairs(self.best, self.others, self.objective, split, minimize=minimize))

    def sentences(
        self, name: str, remark: str = "", *, trials: int | None = None, compare: str = COMPARE
    ) -> list[Sentence]:
        """The verdict in plain words, warnings first. name: the best trial's name in a sentence. remark: text to add
        after the name. trials: the number of trials from which the best was selected, None if unknown. compare: the
        command that trains the best trial and the baselines with new seeds."""
        lost = [comparison for comparison in self.naive if not comparison.beaten]
        said = [self._of_naive(comparison, name, remark, first=comparison in lost[:1]) for comparison in self.naive]
        if self.seeds > 1 or not lost:  # else the comparison with the trivial baseline gives the advice
            said.append(self._of_baselines(name, remark, trials, compare))
        said.sort(key=lambda comparison: not comparison.warning)
        if self.tests:
            others = [name for name, comparison in self.baselines.items() if comparison.p is not None]
            others += [*dict.fromkeys(each.name for each in self.naive if each.compared.p is not None)]
            together = f" for all {self.tests} comparisons together ({', '.join(others)}; Holm's correction)"
            family = together if self.tests > 1 else ""
            said.append(
                Sentence(
                    "Verdicts are from the validation split: differences over new seeds, ± half of their 95 % "
                    f"confidence interval; Student's t-test, at 5 %{family}."
                )
            )
        expected, lucky = self.best.expected(self.objective), self.best.searched(self.objective)
        if self.seeds > 1 and expected is not None and lucky is not None:
            said.append(
                Sentence(
                    f"Expect {self.objective} {expected:.4g} on the validation split (mean of {self.seeds} new seeds). "
                    f"The search's {lucky:.4g} is the value that was selected, so it is biased."
                )
            )
        if (tested := self._on_test()) is not None:
            said.append(tested)
        return said

    def _of_naive(self, comparison: AgainstNaive, name: str, remark: str, *, first: bool) -> Sentence:
        """The comparison with a trivial baseline. first: whether this is the first objective in which the best trial is
        no better; the advice is given there."""
        compared, objective = comparison.compared, comparison.objective
        count = len(self.best.seeds(objective))
        how = f"mean of {count} new seeds" if count > 1 else "one new seed" if count else "one seed"
        values = f"{objective} {compared.best:.4g} against {compared.other:.4g} on the validation split ({how})"
        tested = self.best.expected(objective, TEST)
        theirs = self.trivial.get(TEST, {}).get(comparison.name, {}).get(objective)
        if tested is not None and theirs is not None:
            values += f", {tested:.4g} against {theirs:.4g} on the test split"
        trivial = f"{comparison.name}, a trivial baseline that ignores the image"
        if not comparison.beaten:
            text = f"{_capital(name)} is no better than {trivial}: {values}."
            if first:
                text += f" {_capital(remark)}." if remark and self.seeds < 2 else ""
                text += (
                    " Until it is better, comparing weights means little: train longer, or look for a mistake in data, "
                    "network or loss."
                )
            return Sentence(text, warning=True)
        if compared.verdict == "undecided":
            return Sentence(f"{_capital(name)} is not significantly better than {trivial}: {values}.", warning=True)
        if compared.verdict == "one seed":
            return Sentence(f"{_capital(name)} had a better value than {trivial}: {values}.")
        return Sentence(f"{_capital(name)} is better than {trivial}: {values}.")

    def _of_baselines(self, name: str, remark: str, trials: int | None, compare: str) -> Sentence:
        """The best trial compared with the baselines, grouped by outcome."""
        if self.seeds < 2:
            count = "many" if trials is None else trials
            why = (
                f"It was trained with one seed and selected as the best of {count} trials that trained to the end, so "
                "its value is biased"
            )
            if trials == 1:
                why = "It was trained with one seed, which shows no spread"
            if self.seeds:
                why = "It was trained with one new seed, which shows no spread"
            remark_text = f" {_capital(remark)}." if remark else ""
            return Sentence(f"The best so far is {name}.{remark_text} {why}. Before relying on it, run: {compare}.")
        groups: dict[str, list[str]] = {}
        for label, comparison in self.baselines.items():
            words = f"“{label}”"
            if comparison.verdict == "undecided" and comparison.margin is not None:
                words += f" ({difference(comparison.change, comparison.margin)})"
            groups.setdefault(comparison.verdict, []).append(words)
        if worse := groups.get("worse"):
            verb = "is" if len(worse) == 1 else "are"
            return Sentence(
                f"Do not use {name}: over {self.seeds} new seeds {_listed(worse)} {verb} better.", warning=True
            )
        said = []
        if better := groups.get("better"):
            said.append(f"is better than {_listed(better)}")
        if same := groups.get("as good"):
            said.append(f"is within 1 % of {_listed(same)}: use the simplest of them")
        if undecided := groups.get("undecided"):
            said.append(
                f"is not significantly different from {_listed(undecided)}: {self.seeds} seeds do not decide it; "
                "train more seeds"
            )
        if alone := groups.get("one seed"):
            said.append(f"was not compared with {_listed(alone)} over new seeds")
        if not said:
            return Sentence(
                f"{_capital(name)} was trained with {self.seeds} new seeds; there is no baseline to compare with."
            )
        usable = set(groups) == {"better"} and all(comparison.compared.verdict == "better" for comparison in self.naive)
        return Sentence(f"Over {self.seeds} new seeds {name} {'; it '.join(said)}.{' Use it.' if usable else ''}")

    def _on_test(self) -> Sentence | None:
        """The values on the test split, without a verdict."""
        mine = self.best.expected(self.objective, TEST)
        if mine is None:
            return None
        seeds = len(self.best.seeds(self.objective, TEST))
        rows = {
            f"“{label}”": other.expected(self.objective, TEST)
            for label, other in self.others.items()
            if bool(other.seeds(self.objective, TEST)) == bool(seeds)  # a mean is not compared with a single training
        }
        rows |= {label: metrics.get(self.objective) for label, metrics in self.trivial.get(TEST, {}).items()}
        values = [f"{label} {value:.4g}" for label, value in rows.items() if value is not None]
        beside = f"; {', '.join(values)}" if values else ""
        how = " (means over new seeds)" if seeds > 1 else " (one new seed)" if seeds else ""
        return Sentence(f"On the test split, for information only{how}: {self.objective} {mine:.4g}{beside}.")


def judge(best: Contender, others: Mapping[str, Contender], trivial: Naive, directions: Mapping[str, str]) -> Verdict:
    """Compare the best trial with the baselines in the first objective, and with the trivial baselines in each. All
    comparisons over new seeds are corrected together. others: baselines by name. directions: objective -> minimize or
    maximize."""
    objective = next(iter(directions))
    strongest = {
        key: baseline
        for key, way in directions.items()
        if (baseline := _strongest(trivial.get(VALIDATION, {}), key, way))
    }
    pairs = _pairs(best, others, objective, VALIDATION, minimize=directions[objective] == "minimize")
    for key, (_, value) in strongest.items():
        mine = best.seeds(key) or _search(best, key, VALIDATION)
        pairs[NAIVE + key] = Pair(mine, value, directions[key] == "minimize")
    compared = compare_all(pairs)
    naive = [
        AgainstNaive(key, name, compared[NAIVE + key], directions[key] == "minimize")
        for key, (name, _) in strongest.items()
        if NAIVE + key in compared
    ]
    baselines = {label: compared[label] for label in others if label in compared}
    return Verdict(objective, directions, best, others, baselines, naive, trivial)


def _strongest(trivial: Mapping[str, Mapping[str, float]], objective: str, way: str) -> tuple[str, float] | None:
    scores = {name: metrics[objective] for name, metrics in trivial.items() if objective in metrics}
    if not scores:
        return None
    name = (min if way == "minimize" else max)(scores, key=lambda each: scores[each])
    return name, scores[name]


def _pairs(
    best: Contender, others: Mapping[str, Contender], objective: str, split: str, *, minimize: bool
) -> dict[str, Pair]:
    """Values by common new seeds; without a common seed, the values of the search."""
    pairs: dict[str, Pair] = {}
    for label, other in others.items():
        mine, theirs = best.seeds(objective, split), other.seeds(objective, split)
        if not set(mine) & set(theirs):
            mine, theirs = _search(best, objective, split), _search(other, objective, split)
        pairs[label] = Pair(mine, theirs, minimize)
    return pairs


def _search(contender: Contender, objective: str, split: str) -> dict[int, float]:
    """The value of the search, under one seed."""
    value = contender.searched(objective, split)
    return {} if value is None else {0: value}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
