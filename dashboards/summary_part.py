"""The first part of a report: what was searched, the winner against the baselines, what to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from weightsearch.analysis.against_baselines import Comparison, compare_pairs
from weightsearch.dashboards.findings import Findings
from weightsearch.dashboards.part import Part, Table, duration, number, percent
from weightsearch.dashboards.sensitivity_part import near_best
from weightsearch.errors import counted
from weightsearch.spec.ranges import find_ranges, is_weight, text_of
from weightsearch.study.summary import TrialSummary

SPLITS: Final = ("validation", "test")
ENOUGH: Final = 5  # trials near the best that make a plateau


def summary_part(found: Findings) -> Part:
    """What was searched, the winner against the baselines, what to use: on one screen."""
    summary, best = found.summary, found.best
    states = summary.states
    ended = states["COMPLETE"] + states["PRUNED"] + states["FAIL"]
    unfinished = states["RUNNING"] + states["WAITING"]
    facts = [(f"{ended} of {ended + unfinished}" if unfinished else str(ended), "trials ended")]
    if best is not None:
        facts.insert(0, (number(best.values[found.objective]), f"best {found.objective} (validation)"))
    facts.append((duration(float(found.frames.epochs["seconds"].sum())), "of training"))
    text = [_searched(found)]
    if best is None:
        text.append(_nothing_yet(found))
        return Part("summary", "Summary", text, facts=facts)
    if (unbeaten := _unbeaten(found)) is not None:
        text.append(unbeaten)
    text += advice(found)
    if (flat := _flat(found)) is not None:
        text.append(flat)
    return Part("summary", "Summary", text, tables=[_winner_table(found)], facts=facts, data=found.frames.trials)


def _searched(found: Findings) -> str:
    space = []
    for path, written in find_ranges(found.tree):
        name = ".".join(path)
        if "choices" in written:
            space.append(f"{name} among {', '.join(map(text_of, written['choices']))}")
        else:
            log = " (log)" if written.get("log") else ""
            space.append(f"{name} from {written.get('low')} to {written.get('high')}{log}")
    objectives = " and ".join(f"{way.removesuffix('e')}ing {name}" for name, way in found.summary.directions.items())
    fixed = [
        f"{name} {section['weight']:g}"
        for name, section in found.tree["loss"].items()
        if isinstance(section, dict) and isinstance(section.get("weight"), (int, float))
    ]
    anchor = f"; fixed: {', '.join(fixed)}" if fixed else ""
    return f"Searched {', '.join(space) or 'nothing'}{anchor}, {objectives} on the validation split."


def _nothing_yet(found: Findings) -> str:
    states = found.summary.states
    if not found.summary.trials:
        return "The study has no trials yet."
    if states["RUNNING"] or states["WAITING"]:
        return "No trial has trained to the end yet."
    if states["FAIL"] and not states["PRUNED"]:
        return "Every trial failed; the reasons are under “Failures”."
    return "No trial trained to the end: all were pruned or failed."


def against_baselines(found: Findings, split: str) -> dict[str, Comparison]:
    """The best against every other baseline, over the seeds that both were trained anew with; on the validation split,
    where there are none, as they came out of the search."""
    best = found.best
    if best is None:
        return {}
    mine = _seeds(found, best.number, split)
    compared: dict[str, Comparison] = {}
    for name, trial in found.summary.baselines.items():
        if trial.number == best.number:
            continue
        pairs = compare_pairs(mine, _seeds(found, trial.number, split), minimize=found.minimize)
        if pairs is None and split == "validation" and trial.state == "COMPLETE":
            one = {0: best.values[found.objective]}, {0: trial.values[found.objective]}
            pairs = compare_pairs(*one, minimize=found.minimize)
        if pairs is not None:
            compared[name] = pairs
    return compared


def _seeds(found: Findings, trial: int, split: str) -> dict[int, float]:
    rows = found.frames.confirmations
    mine = rows[(rows["number"] == trial) & (rows["metric"] == found.objective) & (rows["split"] == split)]
    return {int(seed): float(value) for seed, value in zip(mine["seed"], mine["value"], strict=True)}


def advice(found: Findings) -> list[str]:
    """What to use, and how sure that is."""
    best = found.best
    if best is None:
        return []
    name = f"trial {best.number}" if best.baseline is None else f"the baseline “{best.baseline}”"
    whole = f"{name} ({', '.join(_chosen(found, best))})"
    text: list[str] = []
    if len(found.summary.directions) > 1:
        text.append(
            f"“Best” is the best {found.objective}, the first of {len(found.summary.directions)} objectives; “Pareto "
            f"front” lists {counted(len(found.summary.front), 'trial')}."
        )
    fresh = {split: list(_seeds(found, best.number, split).values()) for split in SPLITS}
    seeds = max(len(values) for values in fresh.values())
    if seeds < 2:
        alone = len(found.summary.directions) == 1
        unbeaten = ": no searched trial beats it" if alone else f": no searched trial has a better {found.objective}"
        beaten = "" if best.baseline is None else unbeaten
        text.append(
            f"The best so far is {whole}{beaten}. It was trained with one seed, and chosen as the best of many, which "
            "flatters it; before relying on it: weightsearch compare STUDY --seeds 3."
        )
        return text
    text.append(_against_all(found, whole, seeds))
    if fresh["validation"]:
        expected, lucky = float(np.mean(fresh["validation"])), best.values[found.objective]
        text.append(
            f"In the search it had {number(lucky)} on the validation split, with fresh seeds {number(expected)} on "
            "average: that is what to expect of it."
        )
    return text


def _against_all(found: Findings, whole: str, seeds: int) -> str:
    """The best against the baselines, by what can be said of each."""
    on_test, on_validation = (against_baselines(found, split) for split in ("test", "validation"))
    groups: dict[str, list[str]] = {}
    for name, seen in on_validation.items():
        first = on_test.get(name, seen)
        words = f"“{name}”"
        if first.verdict == "undecided" and first.margin is not None:
            words += f" ({percent(first.change)} ± {100 * first.margin:.1f} %"
            if first is not seen and seen.verdict in ("better", "worse"):
                words += f" on test; {seen.verdict} on validation"
            words += ")"
        groups.setdefault(first.verdict, []).append(words)
    if worse := groups.get("worse"):
        return f"Do not use {whole}: over {seeds} fresh seeds {_listed(worse)} {_is(worse)} better."
    said = []
    if better := groups.get("better"):
        said.append(f"is better than {_listed(better)}")
    if same := groups.get("as good"):
        said.append(f"is within 1 % of {_listed(same)}, so that the simplest of them will do")
    if open_ := groups.get("undecided"):
        said.append(f"cannot be told from {_listed(open_)}: so few seeds do not decide it")
    if alone := groups.get("one seed"):
        said.append(f"was not compared with {_listed(alone)} over fresh seeds")
    if not said:
        return f"Use {whole}; there is no baseline to compare it with."
    use = " Use it." if set(groups) == {"better"} else ""
    return f"Over {seeds} fresh seeds {whole} {'; it '.join(said)}.{use}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _chosen(found: Findings, trial: TrialSummary) -> list[str]:
    """A trial's weights, and what else was searched."""
    weights = [f"{term} {weight:.4g}" for term, weight in found.weights(trial.number).items()]
    return weights + [f"{name} {number(value)}" for name, value in trial.params.items() if not is_weight(name)]


def _unbeaten(found: Findings) -> str | None:
    """In what the best is no better than predictors that look at no picture."""
    best, unbeaten = found.best, found.summary.unbeaten()
    if best is None or not unbeaten:
        return None
    each = [
        f"{objective} is {number(best.values[objective])}, {name} has {number(value)}"
        for objective, (name, value) in unbeaten.items()
    ]
    return (
        f"The best is no better than a predictor that looks at no picture: {'; '.join(each)}. Until it does better, "
        "comparing weights means little: train longer, or look for a mistake in data, network or loss."
    )


def _flat(found: Findings) -> str | None:
    """Whether trials with quite other weights are as good."""
    near = near_best(found)[0]
    wide = [plateau for plateau in near if plateau.share >= 0.2 and plateau.trials >= ENOUGH]
    if not wide:
        return None
    names = "; ".join(f"{one.parameter} from {one.low:.3g} to {one.high:.3g}" for one in wide)
    return (
        f"The optimum is no point: {wide[0].trials} trials within 1 % of the best have {names}. Their values belong "
        "together; not every combination of them is as good."
    )


def _winner_table(found: Findings) -> Table:
    best = found.best
    assert best is not None  # noqa: S101 - the caller has looked
    splits = [split for split in SPLITS if split in set(found.frames.confirmations["split"])]
    compared = {split: against_baselines(found, split) for split in splits or ["validation"]}
    columns = ["", f"{found.objective} in the search", "test"]
    columns += [f"fresh seeds, {split}" for split in splits]
    columns += [f"best against it, {split}" for split in compared] + ["weights and others"]
    rows: list[list[str]] = []
    trials = [("best", best), *((name, one) for name, one in found.summary.baselines.items() if one is not best)]
    by_number = found.frames.trials.set_index("number")
    tested = f"test.{found.objective}"
    for name, trial in trials:
        value = number(trial.values.get(found.objective)) if trial.state == "COMPLETE" else trial.state.lower()
        test = by_number.loc[trial.number].get(tested) if tested in by_number else None
        label = f"best: trial {trial.number}" if name == "best" else name
        if name == "best" and trial.baseline is not None:
            label = f"best: baseline {trial.baseline}"
        fresh = [_mean_and_spread(list(_seeds(found, trial.number, split).values())) for split in splits]
        against = [_against(one.get(name)) for one in compared.values()]
        rows.append([label, value, number(test), *fresh, *against, ", ".join(_chosen(found, trial))])
    for predictor, known in found.summary.naive.items():
        if found.objective in known:
            rows.append([predictor, number(known[found.objective]), *[""] * (len(columns) - 3), "looks at no picture"])
    caption = (
        "± after a mean is the standard deviation over seeds, their number in brackets; after a difference half of its "
        "95 % confidence interval, each comparison by itself."
    )
    return Table(columns, rows, caption, strong=[0])


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{number(float(np.mean(values)))}{spread} ({len(values)})"


def _against(one: Comparison | None) -> str:
    if one is None:
        return ""
    change = percent(one.change)
    return f"{change}, one seed" if one.margin is None else f"{change} ± {100 * one.margin:.1f} %: {one.verdict}"
