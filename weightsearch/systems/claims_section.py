"""Section of a report that compares published claims with computed figures and with the study's trials."""

from __future__ import annotations

from typing import Final

import pandas as pd

from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table
from weightsearch.systems.claim import Claim
from weightsearch.systems.claims import SYSTEMS, all_claims, part


def claims_section(report: ReportData) -> Section | None:
    """Published claims about the study's kind of loss, with recomputed figures and the study's evidence."""
    about = {part(system, "claims").SOURCE for system in SYSTEMS if part(system, "evidence").is_about(report)}
    claims = [claim for claim in all_claims(evidence(report), report.summary.call) if claim.source in about]
    return section_of_claims(claims) if claims else None


def section_of_claims(claims: list[Claim]) -> Section:
    """Make a section of claims."""
    plain = [{key: value for key, value in claim.to_plain().items() if key != "numbers"} for claim in claims]
    text = [
        "Claims about loss weights, from documents that were published with this loss (named in brackets). "
        "Every figure is computed again, and a verdict follows from the figures."
    ]
    return Section("claims", "Published claims", text, tables=[claims_table(claims)], data=pd.DataFrame(plain))


def claims_table(claims: list[Claim]) -> Table:
    rows = [[claim.source, claim.with_place, claim.verdict, claim.with_evidence, claim.how] for claim in claims]
    return Table(["source", "claim", "verdict", "correct", "computation"], rows)


def evidence(report: ReportData) -> dict[str, str]:
    """Claim name -> the study's evidence, for claims that only training can verify and that have matching trials."""
    said = {part(system, "claims").BY_TRAINING: part(system, "evidence").evidence(report) for system in SYSTEMS}
    return {str(name): str(text) for name, text in said.items() if text}


SECTIONS: Final = {180: claims_section}
