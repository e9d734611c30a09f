"""Commands that explain: report, claims, quantisation, watch."""

from __future__ import annotations

import gc
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightsearch.cli.app import AsJson, Sets, Study, app, call_of, opened
from weightsearch.config import load_identity
from weightsearch.console import follow, out, print_claims, print_quantisation
from weightsearch.errors import CALL, WeightsearchError
from weightsearch.files import write_text

if TYPE_CHECKING:
    from weightsearch.dashboards.report.section import Section

FORMATS = ("html", "png", "pdf", "csv")


analyse = typer.Typer(
    no_args_is_help=True, help="Calculations without a training: published claims, quantisation errors."
)
app.add_typer(analyse, name="analyse")


@app.command()
def report(
    study: Study,
    sets: Sets = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Output file, or a folder for several figures or tables."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Format: html, png, pdf or csv.")] = "html",
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="SECTION", help="A section of the report; repeatable. Default: all."),
    ] = None,
) -> None:
    """Write the report of a study: one self-contained HTML page, or its figures (png, pdf) or tables (csv)."""
    if form not in FORMATS:
        raise WeightsearchError(f"--format: expected {', '.join(FORMATS)}, found {form!r}")
    gc.set_threshold(100_000)  # garbage collection would take a tenth of the time: imports and data stay in use
    from weightsearch.dashboards.report.data import read_report_data
    from weightsearch.dashboards.report.page import chosen_sections, render

    with opened(study, sets) as store:
        data = read_report_data(store, pictures=form == "html")
    sections = chosen_sections(data, select or ())
    if form == "html":
        path = output or Path(f"{data.name}.html")
        write_text(path, render(data.name, sections, datetime.now().astimezone()))
        out.print(f"written: {path}", markup=False)
        return
    for path in _write_files(sections, form, output or Path(f"{data.name}-{form}")):
        out.print(f"written: {path}", markup=False)


def _write_files(sections: list[Section], form: str, output: Path) -> list[Path]:
    """Write each figure, or each section's table, to a file: to `output` itself if there is only one and the suffix
    fits the format, else into the folder `output`. Returns the paths."""
    from weightsearch.dashboards.report.files import write_figures, write_tables

    write = write_tables if form == "csv" else write_figures
    return write(sections, form, output)


@analyse.command()
def claims(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="A study whose trials are cited as evidence.")
    ] = None,
    sets: Sets = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write an HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every number of published arguments for loss weights: claim, verdict, correct value, derivation."""
    from weightsearch.systems.claims import all_claims

    evidence: dict[str, str] = {}
    if study is not None:
        from weightsearch.dashboards.report.data import read_report_data
        from weightsearch.systems.claims_section import evidence as evidence_of

        with opened(study, sets) as store:
            evidence = evidence_of(read_report_data(store, pictures=False))
    published = all_claims(evidence, CALL if study is None else call_of(study, sets))
    if output is not None:
        from weightsearch.dashboards.report.page import render
        from weightsearch.systems.claims_section import section_of_claims

        write_text(output, render("Published claims", [section_of_claims(published)], datetime.now().astimezone()))
    if as_json:
        print(json.dumps([claim.to_plain() for claim in published], indent=2, ensure_ascii=False))
        return
    print_claims(published)
    if output is not None:
        out.print(f"written: {output}", markup=False)


@analyse.command()
def quantisation(
    max_depth: Annotated[float, typer.Option(help="Upper end of the depth range, metres.")] = 15.0,
    min_depth: Annotated[float, typer.Option(help="Lower end of the depth range, metres.")] = 0.0,
    bits: Annotated[list[int] | None, typer.Option(min=1, max=24, help="Bits of an output; repeatable.")] = None,
    levels: Annotated[
        list[int] | None, typer.Option(min=2, help="Levels of an output, in place of bits; repeatable.")
    ] = None,
    decode: Annotated[str, typer.Option(help="How the two outputs are decoded: linear or rounded.")] = "linear",
    as_json: AsJson = False,
) -> None:
    """Print the depth error that quantised outputs cause: of one output, and of the dual head's two."""
    from weightsearch.systems.dual_head.quantisation import DECODES
    from weightsearch.systems.dual_head.quantisation import quantisation as quantise

    if decode not in DECODES:
        raise WeightsearchError(f"--decode: expected {' or '.join(DECODES)}, found {decode!r}")
    counts = [*(levels or []), *(2**bit_count for bit_count in bits or ([] if levels else [8]))]
    results = [
        quantise(max_depth=max_depth, min_depth=min_depth, levels=count, decode=DECODES[decode]) for count in counts
    ]
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        print_quantisation(results)


@app.command()
def watch(
    study: Study,
    sets: Sets = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the state once and exit.")] = False,
) -> None:
    """Follow a running study from any terminal: trials, best so far, contributions, gradient ratios. Ctrl-C exits."""
    from weightsearch.study.progress import read_progress

    total = load_identity(study, sets or ()).trials
    with opened(study, sets) as store:
        follow(lambda: read_progress(store, total), every, once=once)
