"""Sections of a report about its records: pictures, protocol, cost, environment, failures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Strip, Table, Tile, duration, number
from weightsearch.records import PICTURES, SHARED_PICTURES, Picture

FAILURES: Final = 20
PICTURED: Final = 3  # trials beside the best
OWN: Final = [kind for kind in PICTURES if kind not in SHARED_PICTURES]


def pictures_section(report: ReportData) -> Section:
    title = "Depth maps"
    shown = {label: report.pictures.get(trial, []) for label, trial in report.shown.items()}
    shown = {label: pictures for label, pictures in shown.items() if pictures}
    if not shown:
        return Section("pictures", title, ["No completed trial has stored depth maps (analysis.pictures)."])
    labels = list(shown)[: PICTURED + 1]
    first = shown[labels[0]]
    strips = []
    for frame in sorted({picture.frame for picture in first}):
        of_frame = {
            label: {picture.kind: picture for picture in shown[label] if picture.frame == frame} for label in labels
        }
        mine = of_frame[labels[0]]
        columns = [_column("", mine, SHARED_PICTURES)]
        columns += [_column(f"{label}: ", kinds, OWN) for label, kinds in of_frame.items() if kinds]
        depth, error = mine.get("depth"), mine.get("error")
        note = "" if depth is None else f"depth {depth.low:.2f} (bright) to {depth.high:.2f} m (dark)"
        note += "" if error is None else f"; relative error 0 (dark) to {100 * error.high:.0f} % or more (bright)"
        if flow := mine.get("flow"):
            longest = f"flow: hue is direction, {flow.high:.1f} pixels or more have full colour"
            note = f"{note}; {longest}" if note else longest
        if "left out" in mine:
            note += "; vermilion: pixels excluded from the loss of depth and pose"
        strips.append(Strip(mine["image"].name if "image" in mine else f"frame {frame}", note, columns))
    text = [
        "The same validation frames for every trial, with the same colours. Grey: no ground truth, or not evaluated."
    ]
    return Section("pictures", title, text, strips=strips)


def _column(label: str, pictures: Mapping[str, Picture], kinds: Sequence[str]) -> tuple[Tile, ...]:
    return tuple(_tile(f"{label}{kind}", pictures[kind]) for kind in kinds if kind in pictures)


def _tile(label: str, picture: Picture) -> Tile:
    return Tile(label, "data:image/webp;base64," + base64.b64encode(picture.content).decode())


def protocol_section(report: ReportData) -> Section:
    if not report.protocol:
        return Section("protocol", "Protocol", ["No trial has reported yet."])
    rows = [[name, _cell(value)] for name, value in report.protocol.items()]
    text = ["How all metrics were evaluated. Only values under the same protocol can be compared."]
    return Section(
        "protocol", "Protocol", text, tables=[Table(["", ""], rows)], data=pd.DataFrame(rows, columns=["key", "value"])
    )


def cost_section(report: ReportData) -> Section:
    epochs, trials = report.frames.epochs, report.frames.trials
    if epochs.empty:
        return Section("cost", "Cost", ["No epoch has been trained yet."])
    seconds = float(epochs["seconds"].sum())
    per_epoch = float(epochs["seconds"].median())
    pruned = trials[trials["state"] == "PRUNED"]
    saved_epochs = int((report.epochs - pruned["epochs"]).clip(lower=0).sum()) if report.epochs else 0
    started, ended = trials["start"].min(), trials["end"].max()
    wall = (ended - started).total_seconds() if pd.notna(started) and pd.notna(ended) else None
    cpus = report.config.base.resources.cpus_per_trial
    device = report.environment.get("device", "")
    probes = report.frames.probe_cost("seconds")
    rows = [
        ["epochs trained", str(len(epochs))],
        ["seconds an epoch (median)", f"{per_epoch:.2f}"],
        ["time in training", duration(seconds)],
        [
            "device hours",
            f"{seconds / 3600:.2f} on {device or 'unknown'}, {cpus} CPU{'s' if cpus != 1 else ''} a trial",
        ],
        ["from the first trial's start to the last one's end", "–" if wall is None else duration(wall)],
        ["epochs that pruning saved", f"{saved_epochs} (about {duration(saved_epochs * per_epoch)})"],
        ["probes of gradients", f"{duration(probes)}, {100 * probes / seconds:.2f} % of the training"],
    ]
    return Section("cost", "Cost", tables=[Table(["", ""], rows)], data=pd.DataFrame(rows, columns=["what", "value"]))


def environment_section(report: ReportData) -> Section:
    environment = report.environment
    if not environment:
        return Section("environment", "Environment", ["No trial has reported yet."])
    rows = [[name, _cell(value)] for name, value in environment.items() if name != "versions"]
    rows += [[name, str(version)] for name, version in environment.get("versions", {}).items()]
    text = [
        "On a CPU the same configuration gives the same numbers bit for bit with these versions, this number of "
        "threads and this kind of CPU; on another kind the last digits may differ."
    ]
    return Section(
        "environment",
        "Environment",
        text,
        tables=[Table(["", ""], rows)],
        data=pd.DataFrame(rows, columns=["key", "value"]),
    )


def failures_section(report: ReportData) -> Section:
    failed = [trial for trial in report.summary.trials if trial.state == "FAIL"]
    if not failed:
        return Section("failures", "Failures", ["No trial failed."])
    rows = [[f"trial {trial.number}", str(trial.epochs), trial.reason or "–"] for trial in failed]
    text = [] if len(rows) <= FAILURES else [f"The first {FAILURES} of {len(rows)}; --format csv writes all."]
    table = Table(["", "epochs", "reason"], rows[:FAILURES])
    return Section(
        "failures", "Failures", text, tables=[table], data=pd.DataFrame(rows, columns=["trial", "epochs", "reason"])
    )


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " × ".join(number(item) for item in value)
    return "none" if value is None else "yes" if value is True else "no" if value is False else number(value, 6)


SECTIONS: Final = {
    160: pictures_section,
    190: protocol_section,
    200: cost_section,
    210: environment_section,
    220: failures_section,
}
