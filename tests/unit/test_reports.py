"""The commands report, claims, quantisation and watch, in this process."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
from typer.testing import CliRunner

from tests.stores import driving
from tests.synthetic import config, fill, synthetic
from weightsearch.cli import app
from weightsearch.errors import WeightsearchError, WriteError


def said(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: str) -> WeightsearchError:
    with pytest.raises(WeightsearchError) as caught:
        CliRunner().invoke(app, list(words), catch_exceptions=False)
    return caught.value


@pytest.fixture
def study(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("name: synthetic\nstorage: sqlite:///s.db\n")
    return "s.yaml"


def test_claims_are_a_table_json_and_a_page(study, tmp_path):
    table = said("analyse", "claims", "-o", "claims.html")
    rows = json.loads(said("analyse", "claims", "--json"))
    assert len(rows) == 59
    for row in rows:
        assert row["claimed"].split()[0] in table
        assert row["verdict"].split()[0] in table
    page = (tmp_path / "claims.html").read_text()
    assert page.count("<tr>") == 1 + 59
    assert "5.5/53.0/41.5" in page


def test_a_study_s_own_trials_are_cited_where_training_decides(study):
    synthetic("sqlite:///s.db", 4, states=["COMPLETE"])
    rows = {row["name"]: row for row in json.loads(said("analyse", "claims", study, "--json"))}
    evidence = rows["best_weights"]["evidence"]
    assert "published (1 : 10 : 0.5) 0.19" in evidence
    assert "equal" in evidence
    assert rows["table_1_sq_rel"]["evidence"] == ""


def test_a_study_without_the_published_weights_is_no_evidence(study):
    synthetic("sqlite:///s.db", 4, states=["COMPLETE"], baselines={})
    rows = json.loads(said("analyse", "claims", study, "--json"))
    assert not any(row["evidence"] for row in rows)


def test_quantisation_for_any_depth_levels_and_bits():
    text = said("analyse", "quantisation", "--max-depth", "15", "--bits", "8")
    assert re.search(r"256 +8\.00 +58\.82 +29\.41 +14\.71 +1\.961 +0\.9804", text)
    found = json.loads(said("analyse", "quantisation", "--max-depth", "80", "--levels", "48", "--bits", "10", "--json"))
    assert [one["single"]["levels"] for one in found] == [48, 1024]
    rounded = json.loads(said("analyse", "quantisation", "--max-depth", "80", "--decode", "rounded", "--json"))
    assert rounded[0]["largest_error"] == pytest.approx(0.5 / 255)
    assert str(refused("analyse", "quantisation", "--decode", "x")) == "--decode: expected linear or rounded, found 'x'"
    assert "expected 0 <= min_depth < max_depth <= 10000" in str(
        refused("analyse", "quantisation", "--max-depth", "-1")
    )


def test_watch_shows_a_study_once(study):
    synthetic("sqlite:///s.db", 4, states=["COMPLETE", "PRUNED"])
    text = said("watch", study, "--once")
    assert "6 trials: 4 done, 2 pruned, 0 failed; 0 running" in text
    assert "against published" in text


def test_watch_follows_a_study_until_it_is_over(study, tmp_path):
    def drive() -> None:
        with driving(f"sqlite:///{tmp_path}/s.db", "synthetic", config({"abs_rel": "minimize"}, {})) as writer:
            started.set()
            for _ in range(3):
                fill(writer, 1, baselines={})
                time.sleep(0.5)

    started = threading.Event()
    driver = threading.Thread(target=drive)
    driver.start()
    started.wait(20)
    text = said("watch", study, "--every", "0.2")
    driver.join()
    assert text.count("trials: ") >= 2
    assert re.findall(r"(\d) trials: (\d) done", text)[-1] == ("3", "3")


def test_bad_input_is_one_clear_line(study, tmp_path):
    assert "there is no study database" in str(refused("report", study))
    synthetic("sqlite:///s.db", 2, states=["COMPLETE"])
    assert str(refused("report", study, "--format", "svg")) == "--format: expected html, png, pdf, csv, found 'svg'"
    assert "unknown section 'x'" in str(refused("report", study, "--select", "x"))
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        CliRunner().invoke(app, ["report", study, "-o", "file/report.html"], catch_exceptions=False)
    said("report", study)
    assert (tmp_path / "synthetic.html").stat().st_size < 6_000_000
