"""`weightsearch init` and the commands' order."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from weightsearch.cli import app
from weightsearch.cli.app import ORDER
from weightsearch.config import load_study
from weightsearch.config.extends import shipped
from weightsearch.errors import WeightsearchError, WriteError


@pytest.mark.parametrize("name", ["dualhead", "silog", "transfer", "cotraining"])
def test_init_writes_a_commented_study_that_is_valid(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", name], catch_exceptions=False)
    assert done.exit_code == 0
    assert (tmp_path / f"{name}.yaml").read_text().startswith("# ")
    assert load_study(tmp_path / f"{name}.yaml").name == name
    with pytest.raises(WriteError, match=rf"{name}\.yaml exists; name another file with --out FILE"):
        CliRunner().invoke(app, ["init", name], catch_exceptions=False)
    CliRunner().invoke(app, ["init", name, "--out", "two.yaml"], catch_exceptions=False)
    assert (tmp_path / "two.yaml").read_text() == (tmp_path / f"{name}.yaml").read_text()


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsearchError, match="no study 'dualhed'; did you mean 'dualhead'?"):
        CliRunner().invoke(app, ["init", "dualhed"], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_every_shipped_study_is_shown_with_its_first_sentence(capsys):
    app(["init"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(shipped())
    assert all(len(line.partition(": ")[2]) > 20 for line in lines)


def test_commands_stand_in_the_order_of_work():
    shown = CliRunner().invoke(app, ["--help"]).output
    found = re.findall(r"(?m)^\W*([a-z]+)  ", shown.partition("Commands")[2])
    assert found == list(ORDER)


def test_the_version_is_that_of_the_package():
    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"weightsearch {version('weightsearch')}"
