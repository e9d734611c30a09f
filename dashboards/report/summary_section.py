"""The first section of a report: the search space, the best trial against the baselines, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from weightsearch.analysis.against_baselines import LEVEL, Comparison
from weightsearch.analysis.verdict import TEST, VALIDATION, Sentence, Verdict
from weightsearch.config.ranges import Choices, is_weight, text_of
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, duration, number
from weightsearch.dashboards.report.sensitivity_section import near_best
from weightsearch.errors import counted, difference
from weightsearch.study.summary import TrialSummary

NAMED: Final = ("encoder", "weights")  # options of a network that are named in the first line
SPLITS: Final = (VALIDATION, TEST)
ENOUGH: Final = 5  # trials near the best that make a plateau


def summary_section(found: ReportData) -> Section:
    """The search space, the verdict, and the best trial against the baselines, on one screen."""
    summary, best = found.summary, found.best
    states = summary.states
    ended = states["COMPLETE"] + states["PRUNED"] + states["FAIL"]
    unfinished = states["RUNNING"] + states["WAITING"]
    facts = [(f"{ended} of {ended + unfinished}" if unfinished else str(ended), "trials ended")]
    if best is not None:
        facts.insert(0, (number(best.values[found.objective]), f"best {found.objective} (validation)"))
    facts.append((duration(float(found.frames.epochs["seconds"].sum())), "of training"))
    text = [*_trained(found), _searched(found)]
    if best is None:
        said = [sentence.text for sentence in found.summary.about_data()]
        return Section("summary", "Summary", [*text, *said, _nothing_yet(found)], facts=facts, warnings=said)
    verdict = advice(found)
    text += [sentence.text for sentence in verdict]
    if (flat := _flat(found)) is not None:
        text.append(flat)
    warnings = [sentence.text for sentence in verdict if sentence.warning]
    return Section(
        "summary",
        "Summary",
        text,
        tables=[_best_table(found)],
        facts=facts,
        data=found.frames.trials,
        warnings=warnings,
    )


def _trained(found: ReportData) -> list[str]:
    """A sentence on what was trained: network, data, frames of each split, epochs, batch, rate, seed, commit, device.
    Values that are searched are named as such."""
    base, space = found.config.base, found.config.space

    def value(path: str, given: Any) -> str:
        return "searched" if path in space else text_of(given)

    size = "x".join(map(str, base.data.size))
    counts = ", ".join(f"{count} {split}" for split, count in found.frames_of_splits.items())
    options = [f"{key} {value(f'model.{key}', given)}" for key, given in base.model.options.items() if key in NAMED]
    network = base.model.name + (f" ({', '.join(options)})" if options else "")
    data = f"{base.data.name}{f' in {base.data.root}' if base.data.root else ''}"
    frames = f", {counts} frames" if counts else ""
    train = base.train
    said = [
        f"Trained: {network} on {data}{frames} at {size} pixels (height x width); "
        f"{value('train.epochs', train.epochs)} epochs, batches of {value('train.batch_size', train.batch_size)}, "
        f"{value('train.optimizer', train.optimizer)} with learning rate {value('train.lr', train.lr)}, "
        f"seed {base.seed}."
    ]
    where = found.environment
    if where:
        commit = f", commit {where['commit']}" if where.get("commit") else ""
        threads = where.get("threads")
        said[0] = said[0][:-1] + f"; on {where['device']}, {counted(int(threads or 1), 'thread')}{commit}."
    return said


def _searched(found: ReportData) -> str:
    space = []
    for name, allowed in found.config.space.items():
        if isinstance(allowed, Choices):
            space.append(f"{name} among {', '.join(map(text_of, allowed.values))}")
        else:
            space.append(f"{name} from {allowed.low} to {allowed.high}{' (log)' if allowed.log else ''}")
    objectives = " and ".join(f"{way.removesuffix('e')}ing {name}" for name, way in found.summary.directions.items())
    fixed = [f"{name} {weight:g}" for name, weight in found.fixed_weights.items()]
    anchor = f"; fixed: {', '.join(fixed)}" if fixed else ""
    return f"Searched {', '.join(space) or 'nothing'}{anchor}, {objectives} on the validation split."


def _nothing_yet(found: ReportData) -> str:
    states = found.summary.states
    if not found.summary.trials:
        return "The study has no trials yet."
    if states["RUNNING"] or states["WAITING"]:
        return "No trial has trained to the end yet."
    if states["FAIL"] and not states["PRUNED"]:
        return "Every trial failed; the reasons are under “Failures”."
    return "No trial trained to the end: all were pruned or failed."


def advice(found: ReportData) -> list[Sentence]:
    """The verdict on the best trial, with its weights."""
    best = found.best
    if best is None:
        return []
    name = f"{found.summary.best_name} ({', '.join(_chosen(found, best))})"
    said = found.summary.sentences(name)
    if len(found.summary.directions) > 1:
        text = (
            f"“Best” is the best {found.objective}, the first of {len(found.summary.directions)} objectives; “Pareto "
            f"front” lists {counted(len(found.summary.front), 'Pareto-optimal trial')}."
        )
        said.append(Sentence(text))
    return said


def _chosen(found: ReportData, trial: TrialSummary) -> list[str]:
    """A trial's weights and other searched values."""
    weights = [f"{term} {weight:.4g}" for term, weight in found.weights(trial.number).items()]
    return weights + [f"{name} {number(value)}" for name, value in trial.params.items() if not is_weight(name)]


def _flat(found: ReportData) -> str | None:
    """A sentence on a plateau, if trials with very different weights are as good as the best."""
    near = near_best(found)[0]
    wide = [plateau for plateau in near if plateau.share >= 0.2 and plateau.trials >= ENOUGH]
    if not wide:
        return None
    names = "; ".join(f"{one.parameter} from {one.low:.3g} to {one.high:.3g}" for one in wide)
    return (
        f"The optimum is a plateau: {wide[0].trials} trials within 1 % of the best have {names}. Their values belong "
        "together; not every combination of them is as good."
    )


def _best_table(found: ReportData) -> Table:
    best, verdict = found.best, found.summary.verdict()
    assert best is not None  # noqa: S101 - the caller has looked
    assert verdict is not None  # noqa: S101 - as there is a best
    objective = found.objective
    splits = [split for split in SPLITS if found.summary.fresh and verdict.best.seeds(objective, split)]
    compared = {split: verdict.on(split) for split in splits or [VALIDATION]}
    columns = ["", f"{objective} in the search", "test"]
    columns += [f"fresh seeds, {split}" for split in splits]
    columns += [f"best vs baseline, {split}" for split in compared] + ["weights and other parameters"]
    rows: list[list[str]] = []
    for name, trial in (("best", best), *((name, one) for name, one in found.summary.baselines.items())):
        if trial is best and name != "best":
            continue
        value = number(trial.values.get(objective)) if trial.state == "COMPLETE" else trial.state.lower()
        label = f"best: trial {trial.number}" if name == "best" else name
        if name == "best" and trial.baseline is not None:
            label = f"best: baseline {trial.baseline}"
        has = found.summary.contender(trial)
        fresh = [_mean_and_spread(list(has.seeds(objective, split).values())) for split in splits]
        against = [_against(of.get(name), split) for split, of in compared.items()]
        test = number(has.searched(objective, TEST))
        rows.append([label, value, test, *fresh, *against, ", ".join(_chosen(found, trial))])
    rows += _trivial_rows(verdict, splits, list(compared))
    caption = "The test split is for information only."
    if splits:
        caption = (
            "± after a mean is the standard deviation over seeds, their number in brackets; after a difference half of "
            "its 95 % confidence interval, of this comparison by itself. p is corrected for all comparisons (Holm): "
            f"better and worse mean p below {LEVEL:g} on the validation split. {caption}"
        )
    return Table(columns, rows, caption, strong=[0])


def _trivial_rows(verdict: Verdict, splits: Sequence[str], compared: Sequence[str]) -> list[list[str]]:
    """A row for each trivial baseline that ignores the image. Its value does not depend on a seed; only the strongest
    has a test."""
    objective = verdict.objective
    tested = {one.name: one.compared for one in verdict.naive if one.objective == objective}
    rows = []
    for name in dict.fromkeys(name for of in verdict.trivial.values() for name in of):
        values = {split: verdict.trivial.get(split, {}).get(name, {}).get(objective) for split in SPLITS}
        if all(value is None for value in values.values()):
            continue
        against = []
        for split in compared:
            mine, theirs = verdict.best.expected(objective, split), values[split]
            if split == VALIDATION and name in tested:
                against.append(_against(tested[name], split))
            else:
                change = "" if mine is None or not theirs else difference((mine - theirs) / abs(theirs))
                alone = split == VALIDATION and len(verdict.best.seeds(objective)) < 2
                against.append(f"{change}, one seed" if change and alone else change)
        fresh = [number(values[split]) for split in splits]
        rows.append([name, number(values[VALIDATION]), number(values[TEST]), *fresh, *against, "ignores the image"])
    return rows


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{number(float(np.mean(values)))}{spread} ({len(values)})"


def _against(one: Comparison | None, split: str) -> str:
    """A verdict on the validation split, the difference alone on the test split."""
    if one is None:
        return ""
    if one.margin is None or one.p is None:
        return f"{difference(one.change)}, one seed"
    change = difference(one.change, one.margin)
    if split != VALIDATION:
        return change
    words = "not significantly different" if one.verdict == "undecided" else one.verdict
    return f"{change}, p = {one.p:.2g}: {words}"


SECTIONS: Final = {10: summary_section}
