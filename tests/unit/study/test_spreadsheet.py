from __future__ import annotations

import csv
import io
import math

import pandas as pd
import pytest

from weightsearch.study.spreadsheet import to_csv


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        '=HYPERLINK("http://x")',
        "+cmd|' /C calc'!A0",
        "-2+3+cmd",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "-a",
        "--1",
        "=",
    ],
)
def test_what_a_spreadsheet_would_run_is_text(text):
    written = to_csv(pd.DataFrame({"reason": [text], text: ["x"]}))
    shown = f"'{text}".replace("\r", "\n")
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["reason", shown], [shown, "x"]]


def test_a_carriage_return_begins_no_row():
    written = to_csv(pd.DataFrame({"reason": ["a\r=1", "b\r\n=2"]}))
    assert written == 'reason\n"a\n=1"\n"b\n=2"\n'


def test_numbers_stay_numbers():
    table = pd.DataFrame(
        {
            "value": [-1.5, 2.0, math.nan],
            "text": ["-1.5", "+3e-4", "-3.1 %"],
            "mixed": [-7, "-7", None],
            "whole": [-1, 2, 3],
            "inf": [-math.inf, math.inf, 0.0],
        }
    )
    assert to_csv(table) == ("value,text,mixed,whole,inf\n-1.5,-1.5,-7,-1,-inf\n2.0,+3e-4,-7,2,inf\n,-3.1 %,,3,0.0\n")


def test_the_table_itself_is_left_as_it_is():
    table = pd.DataFrame({"reason": ["=1"]})
    to_csv(table)
    assert table["reason"][0] == "=1"
