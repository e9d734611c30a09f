"""Summary section of a report: the search space, the verdict, the best trial against the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from weightsearch.analysis.against_baselines import LEVEL, Comparison
from weightsearch.analysis.verdict import Sentence, Verdict
from weightsearch.config.ranges import Choices, is_weight, text_of
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, duration, number
from weightsearch.dashboards.report.sensitivity_section import near_best
from weightsearch.errors import counted, difference
from weightsearch.records import EVALUATED, TEST, VALIDATION
from weightsearch.study.summary import TrialSummary

NAMED: Final = ("encoder", "weights")  # network options named in the first line
ENOUGH: Final = 5  # trials near the best that make a plateau


def summary_section(report: ReportData) -> Section:
    """The search space, the verdict, and the best trial against the baselines."""
    summary, best = report.summary, report.best
    states = summary.states
    ended = states["COMPLETE"] + states["PRUNED"] + states["FAIL"]
    unfinished = states["RUNNING"] + states["WAITING"]
    facts = [(f"{ended} of {ended + unfinished}" if unfinished else str(ended), "trials ended")]
    if best is not None:
        facts.insert(0, _expected(report, best))
    facts.append((duration(float(report.frames.epochs["seconds"].sum())), "of training"))
    text = [*_trained(report), _searched(report)]
    if best is None:
        said = [sentence.text for sentence in report.summary.about_data()]
        return Section("summary", "Summary", [*text, *said, _nothing_yet(report)], facts=facts, warnings=said)
    verdict = advice(report)
    text += [sentence.text for sentence in verdict]
    if (flat := _flat(report)) is not None:
        text.append(flat)
    warnings = [sentence.text for sentence in verdict if sentence.warning]
    return Section(
        "summary",
        "Summary",
        text,
        tables=[_best_table(report)],
        facts=facts,
        data=report.frames.trials,
        warnings=warnings,
    )


def _expected(report: ReportData, best: TrialSummary) -> tuple[str, str]:
    """The value to expect of the best trial, and its description: the mean over new seeds, or the search's value."""
    contender = report.summary.contender(best)
    seeds = len(contender.seeds(report.objective))
    if seeds:
        value = contender.expected(report.objective)
        return number(value), f"{report.objective} to expect ({counted(seeds, 'new seed')}, validation)"
    return number(best.values[report.objective]), f"best {report.objective} of the search (validation)"


def _trained(report: ReportData) -> list[str]:
    """A sentence on the training: network, dataset, frames per split, epochs, batch size, learning rate, seed, commit,
    device. Searched values are called "searched"."""
    base, space = report.config.base, report.config.space

    def value(path: str, given: Any) -> str:
        return "searched" if path in space else text_of(given)

    size = "x".join(map(str, base.data.size))
    counts = ", ".join(f"{count} {split}" for split, count in report.frames_of_splits.items())
    options = [f"{key} {value(f'model.{key}', given)}" for key, given in base.model.options.items() if key in NAMED]
    network = base.model.name + (f" ({', '.join(options)})" if options else "")
    network = network.replace("weights none", "not pretrained").replace("weights pretrained", "pretrained")
    data = f"{base.data.name}{f' in {base.data.root}' if base.data.root else ''}"
    frames = f", {counts} frames" if counts else ""
    train = base.train
    said = [
        f"Trained: {network} on {data}{frames} at {size} pixels (height x width); "
        f"{value('train.epochs', train.epochs)} epochs, batches of {value('train.batch_size', train.batch_size)}, "
        f"{value('train.optimizer', train.optimizer)} with learning rate {value('train.lr', train.lr)}, "
        f"seed {base.seed}."
    ]
    where = report.environment
    if where:
        commit = f", commit {where['commit']}" if where.get("commit") else ""
        threads = where.get("threads")
        said[0] = said[0][:-1] + f"; on {where['device']}, {counted(int(threads or 1), 'thread')}{commit}."
    return said


def _searched(report: ReportData) -> str:
    space = []
    for name, allowed in report.config.space.items():
        if isinstance(allowed, Choices):
            space.append(f"{name} among {', '.join(map(text_of, allowed.values))}")
        else:
            space.append(f"{name} from {allowed.low} to {allowed.high}{' (log)' if allowed.log else ''}")
    objectives = " and ".join(f"{way.removesuffix('e')}ing {name}" for name, way in report.summary.directions.items())
    fixed = [f"{name} {weight:g}" for name, weight in report.fixed_weights.items()]
    anchor = f"; fixed: {', '.join(fixed)}" if fixed else ""
    return f"Searched {', '.join(space) or 'nothing'}{anchor}, {objectives} on the validation split."


def _nothing_yet(report: ReportData) -> str:
    states = report.summary.states
    if not report.summary.trials:
        return "The study has no trials yet."
    if states["RUNNING"] or states["WAITING"]:
        return "No trial has trained to the end yet."
    if states["FAIL"] and not states["PRUNED"]:
        return "Every trial failed; the reasons are under “Failures”."
    return "No trial trained to the end: all were pruned or failed."


def advice(report: ReportData) -> list[Sentence]:
    """Verdict on the best trial, with its weights."""
    best = report.best
    if best is None:
        return []
    name = f"{report.summary.best_name} ({', '.join(_chosen(report, best))})"
    said = report.summary.sentences(name)
    if len(report.summary.directions) > 1:
        text = (
            f"“Best” is the best {report.objective}, the first of {len(report.summary.directions)} objectives; “Pareto "
            f"front” lists {counted(len(report.summary.front), 'Pareto-optimal trial')}."
        )
        said.append(Sentence(text))
    return said


def _chosen(report: ReportData, trial: TrialSummary) -> list[str]:
    """A trial's weights and other searched values."""
    weights = [f"{term} {weight:.4g}" for term, weight in report.weights(trial.number).items()]
    return weights + [f"{name} {number(value)}" for name, value in trial.params.items() if not is_weight(name)]


def _flat(report: ReportData) -> str | None:
    """A sentence on a plateau, if trials with very different weights are as good as the best."""
    near = near_best(report)[0]
    wide = [plateau for plateau in near if plateau.share >= 0.2 and plateau.trials >= ENOUGH]
    if not wide:
        return None
    names = "; ".join(f"{plateau.parameter} from {plateau.low:.3g} to {plateau.high:.3g}" for plateau in wide)
    return (
        f"The optimum is a plateau: {wide[0].trials} trials within 1 % of the best have {names}. Their values belong "
        "together; not every combination of them is as good."
    )


def _best_table(report: ReportData) -> Table:
    best, verdict = report.best, report.summary.verdict()
    assert best is not None  # noqa: S101 - the caller has checked
    assert verdict is not None  # noqa: S101 - a best trial has a verdict
    objective = report.objective
    splits = [split for split in EVALUATED if report.summary.retrained and verdict.best.seeds(objective, split)]
    compared = {split: verdict.on(split) for split in splits or [VALIDATION]}
    columns = ["", f"{objective}: search, validation", "search, test"]
    columns += [f"new seeds, {split}" for split in splits]
    columns += [f"best vs baseline, {split}" for split in compared] + ["weights and other parameters"]
    rows: list[list[str]] = []
    for name, trial in (("best", best), *((name, baseline) for name, baseline in report.summary.baselines.items())):
        if trial is best and name != "best":
            continue
        value = number(trial.values.get(objective)) if trial.state == "COMPLETE" else trial.state.lower()
        label = f"best: trial {trial.number}" if name == "best" else name
        if name == "best" and trial.baseline is not None:
            label = f"best: baseline {trial.baseline}"
        has = report.summary.contender(trial)
        retrained = [_mean_and_spread(list(has.seeds(objective, split).values())) for split in splits]
        against = [_against(of.get(name), split) for split, of in compared.items()]
        test = number(has.searched(objective, TEST))
        rows.append([label, value, test, *retrained, *against, ", ".join(_chosen(report, trial))])
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
    """Rows of the trivial baselines that ignore the image. Their values do not depend on a seed; only the strongest
    baseline is tested against the best trial."""
    objective = verdict.objective
    tested = {result.name: result.compared for result in verdict.naive if result.objective == objective}
    rows = []
    for name in dict.fromkeys(name for of in verdict.trivial.values() for name in of):
        values = {split: verdict.trivial.get(split, {}).get(name, {}).get(objective) for split in EVALUATED}
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
        retrained = [number(values[split]) for split in splits]
        rows.append([name, number(values[VALIDATION]), number(values[TEST]), *retrained, *against, "ignores the image"])
    return rows


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{number(float(np.mean(values)))}{spread} ({len(values)})"


def _against(comparison: Comparison | None, split: str) -> str:
    """Format a comparison: verdict and p on the validation split, the difference alone on the test split."""
    if comparison is None:
        return ""
    if comparison.margin is None or comparison.p is None:
        return f"{difference(comparison.change)}, one seed"
    change = difference(comparison.change, comparison.margin)
    if split != VALIDATION:
        return change
    words = "not significantly different" if comparison.verdict == "undecided" else comparison.verdict
    return f"{change}, p = {comparison.p:.2g}: {words}"


SECTIONS: Final = {10: summary_section}
