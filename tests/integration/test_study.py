"""Real Ray, real trainings, the real command: a small study from its file to its best configuration."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, TINY
from tests.integration.commands import ALONE, WEIGHTSEARCH, command, curves, epochs_of, shown, wait_for_epochs
from weightsearch.config import load_study
from weightsearch.search.driver import StudyRun


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a study that ran to its end, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY)
    return folder, command("run", "tiny.yaml", *ALONE, cwd=folder).stdout


def test_run_prints_the_best_against_every_baseline(finished):
    folder, printed = finished
    assert "best: trial" in printed
    for word in ("published", "depth_only", "abs_rel validation", "abs_rel test", "loss.fractional.weight"):
        assert word in printed
    assert "[6/6]" in printed
    assert (folder / "runs" / "tiny" / "best.yaml").is_file()


def test_show_json_has_its_schema(finished):
    found = shown(finished[0])
    assert found["study"] == "tiny"
    assert found["directions"] == {"abs_rel": "minimize"}
    assert set(found["states"]) == {"COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"}
    assert sum(found["states"].values()) == 6
    assert found["states"]["RUNNING"] == found["states"]["WAITING"] == found["states"]["FAIL"] == 0
    assert found["states"]["COMPLETE"] >= 2
    assert set(found["best"]) == {"number", "values", "params"}
    assert found["baselines"]["published"]["params"] == {"loss.fractional.weight": 10, "loss.consistency.weight": 0.5}
    assert found["best"]["values"]["abs_rel"] <= found["baselines"]["published"]["values"]["abs_rel"]
    naive = json.loads(command("data", "naive", "tiny.yaml", "--json", cwd=finished[0]).stdout)["metrics"]
    assert found["naive"] == {name: {"abs_rel": one["abs_rel"]} for name, one in naive.items()}
    assert set(found["naive"]) == {"constant_depth", "mean_depth"}
    words = ("data", "naive", "tiny.yaml", "--split", "test", "--json")
    on_test = json.loads(command(*words, cwd=finished[0]).stdout)["metrics"]
    assert found["naive_test"] == {name: {"abs_rel": one["abs_rel"]} for name, one in on_test.items()}


def test_the_database_holds_epochs_terms_and_environment(finished):
    connection = sqlite3.connect(finished[0] / "tiny.db")
    epochs = connection.execute("SELECT count(*) FROM weightsearch_epochs").fetchone()[0]
    values = connection.execute("SELECT count(*) FROM trial_intermediate_values").fetchone()[0]
    rows = 'FROM weightsearch_measurements WHERE "group" = '
    terms = connection.execute(f"SELECT count(*) {rows}'contribution'").fetchone()[0]
    sums = connection.execute(f"SELECT sum(value) {rows}'contribution' GROUP BY trial_id, epoch").fetchall()
    versions = json.loads(connection.execute("SELECT content FROM weightsearch_environments").fetchone()[0])["versions"]
    tested = connection.execute(f"SELECT count(DISTINCT trial_id) {rows}'metric' AND name LIKE 'test/%'").fetchone()
    connection.close()
    assert epochs == values >= 10
    assert terms == 3 * epochs
    assert all(one == pytest.approx(1) for (one,) in sums)
    assert set(versions) >= {"python", "torch", "timm", "optuna", "ray", "weightsearch"}
    assert tested[0] in (2, 3)  # the best and the two baselines, and no other


def test_checkpoints_of_the_best_and_the_baselines_stay_and_no_other(finished):
    kept = {int(path.name) for path in (finished[0] / "runs" / "tiny").glob("trials-*/*")}
    assert kept == {0, 1, shown(finished[0])["best"]["number"]}
    assert not (finished[0] / "runs" / "tiny" / "ray").exists()


def test_running_again_changes_nothing(finished):
    folder, _ = finished
    before = shown(folder)
    printed = command("run", "tiny.yaml", cwd=folder).stdout
    assert "best: trial" in printed
    assert shown(folder) == before


@pytest.mark.slow
def test_a_study_made_anew_does_not_take_over_what_an_older_one_left(tmp_path, finished):
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    command("run", "tiny.yaml", *ALONE, "--set", "search.trials=2", "--set", "seed=5", cwd=tmp_path)
    assert shown(tmp_path)["states"]["COMPLETE"] == 2
    assert all(epochs == [1, 2, 3, 4] for epochs in epochs_of(tmp_path / "tiny.db"))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("train.lr=0.5", "train.lr: 0.001 -> 0.5"),
        ("loss.fractional.weight.high=50", "loss.fractional.weight.high: 100 -> 50"),
        ("search.objectives={rmse: minimize}", "objectives.abs_rel: minimize -> nothing; objectives.rmse: nothing ->"),
    ],
)
def test_a_study_does_not_go_on_with_another_file(finished, change, line):
    done = command("run", "tiny.yaml", "--set", change, cwd=finished[0], expect=2)
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_exported_configuration_trains_to_the_trials_metrics_exactly(finished):
    folder, _ = finished
    command("export", "tiny.yaml", "-o", "best.yaml", "--trials", "trials.csv", cwd=folder)
    best = yaml.safe_load((folder / "best.yaml").read_text())
    found = shown(folder)["best"]
    assert best["provenance"]["trial"] == found["number"]
    assert best["provenance"]["study"] == "tiny"
    assert best["provenance"]["versions"]["torch"]
    command("train", "best.yaml", "--out", "again", cwd=folder)
    again = json.loads((folder / "again" / "metrics.json").read_text())
    assert again["metrics"] == best["provenance"]["metrics"]["validation"]
    assert again["metrics"]["abs_rel"] == found["values"]["abs_rel"]
    assert again["protocol"] == best["provenance"]["protocol"]
    assert len((folder / "trials.csv").read_text().splitlines()) == 7
    printed = command(
        "evaluate", "best.yaml", "--checkpoint", "again/checkpoint.pt", "--split", "test", "--json", cwd=folder
    ).stdout
    assert json.loads(printed)["metrics"] == best["provenance"]["metrics"]["test"]


@pytest.mark.slow
def test_a_killed_driver_goes_on_and_ends_with_the_same_study(tmp_path, finished):
    """One worker, SIGKILL in mid-study: the same trials, numbers, states and values as a study that ran through."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    driver = subprocess.Popen([*WEIGHTSEARCH, "run", "tiny.yaml", *ALONE], cwd=tmp_path, stdout=subprocess.DEVNULL)
    wait_for_epochs(tmp_path / "tiny.db", 6)
    driver.kill()
    driver.wait()
    assert shown(tmp_path)["states"]["COMPLETE"] < 6
    command("run", "tiny.yaml", *ALONE, cwd=tmp_path)
    assert shown(tmp_path) == shown(finished[0])
    assert curves(tmp_path / "tiny.db") == curves(finished[0] / "tiny.db")


@pytest.mark.slow
def test_a_second_driver_says_who_has_the_study_and_joins_when_asked(finished):
    folder, _ = finished
    config = load_study(
        folder / "tiny.yaml", [f"storage=sqlite:///{folder}/tiny.db", f"resources.run_dir={folder}/runs"]
    )
    holder = StudyRun(config)
    second = command("run", "tiny.yaml", cwd=folder, expect=3)
    assert f"(process {os.getpid()}, last heard" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    command("run", "tiny.yaml", "--join", cwd=folder)
    holder.close()
    command("run", "tiny.yaml", cwd=folder)


@pytest.mark.slow
def test_a_new_study_beside_the_old_one(finished):
    folder, _ = finished
    changed = [*ALONE, "--set", "train.lr=0.5", "--set", "search.trials=2", "--set", "train.epochs=1"]
    refused = command("run", "tiny.yaml", *changed, cwd=folder, expect=2)
    assert "start another study with --force-new NAME" in refused.stderr
    before = shown(folder)
    command("run", "tiny.yaml", *changed, "--force-new", "faster", cwd=folder)
    assert shown(folder) == before
    states = json.loads(command("show", "tiny.yaml", "--set", "name=faster", "--json", cwd=folder).stdout)["states"]
    assert states["COMPLETE"] == 2
    again = command("run", "tiny.yaml", *changed, "--force-new", "faster", cwd=folder, expect=2)
    assert "the study 'faster' exists already; --set name=faster resumes it" in again.stderr


@pytest.mark.slow
def test_a_users_own_term_and_network_beside_the_study_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, *, max_depth: float, width: int = 4):\n"
        "        super().__init__()\n"
        "        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))\n"
        "    def forward(self, image):\n"
        "        return 2 + self.body(image)\n"
        "class Log:\n"
        "    def __call__(self, prediction, batch):\n"
        "        ok = batch.valid\n"
        "        return (prediction['depth'].clamp(min=0.1).log()[ok] - batch.depth[ok].log()).abs().mean()\n"
    )
    (tmp_path / "models").mkdir()  # a folder that would shadow a package of that name
    (tmp_path / "models" / "__init__.py").write_text("raise RuntimeError('shadowed')\n")
    study = TINY.replace("{name: dual_head, encoder: test_efficientnet, channels: 4}", "{name: 'mine:Net', width: 3}")
    tree = yaml.safe_load(study)
    tree["loss"] = {
        "log": {"term": "mine:Log", "weight": {"low": 0.1, "high": 10.0, "log": True}},
        "consistency": {"weight": 1.0},
    }
    tree["search"]["baselines"] = {"equal": {"loss.log.weight": 1}}
    tree["search"]["trials"] = 2
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    command("run", "mine.yaml", *ALONE, cwd=tmp_path)
    found = shown(tmp_path, "mine.yaml")
    assert found["states"]["FAIL"] == 0
    assert sum(found["states"].values()) == 2


def test_quiet_prints_nothing(tiny):
    sets = ["--set", "loss.fractional.weight=1", "--set", "loss.consistency.weight=1", "--set", "train.epochs=1"]
    done = command("train", "tiny.yaml", *sets, "--quiet", "--out", "o", cwd=tiny.parent)
    assert done.stdout == done.stderr == ""


def test_train_needs_neither_ray_nor_optuna_nor_a_database(tiny):
    blocked = tiny.parent / "blocked"
    blocked.mkdir()
    for name in ("ray", "optuna", "sqlalchemy", "pandas", "plotly", "optuna_dashboard"):
        (blocked / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    sets = ["--set", "loss.fractional.weight=1", "--set", "loss.consistency.weight=1", "--set", "train.epochs=1"]
    done = subprocess.run(
        [*WEIGHTSEARCH, "train", "tiny.yaml", *sets, "--out", "o"],
        cwd=tiny.parent,
        env={**os.environ, "PYTHONPATH": f"{blocked}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tiny.parent / "o" / "metrics.json").read_text())["epoch"] == 1
