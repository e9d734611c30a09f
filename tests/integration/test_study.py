"""Real Ray, real trainings, the real command: a small study from its file to its best configuration."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests import processes
from tests.conftest import ROOT, TINY
from weightsearch.search.driver import StudyRun
from weightsearch.spec import load_study

WEIGHTSEARCH = [sys.executable, "-m", "weightsearch.cli"]
ALONE = ["--set", "resources.max_concurrent=1"]  # one trial after the other: what they suggest does not depend on time


def command(*words: str | Path, cwd: Path, expect: int = 0, timeout: int = 240) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*WEIGHTSEARCH, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == expect, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a study that ran to its end, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY)
    return folder, command("run", "tiny.yaml", *ALONE, cwd=folder).stdout


def shown(folder: Path, name: str = "tiny.yaml") -> dict:
    return json.loads(command("show", name, "--json", cwd=folder).stdout)


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


def test_the_database_holds_epochs_terms_and_environment(finished):
    connection = sqlite3.connect(finished[0] / "tiny.db")
    epochs = connection.execute("SELECT count(*) FROM weightsearch_epochs").fetchone()[0]
    values = connection.execute("SELECT count(*) FROM trial_intermediate_values").fetchone()[0]
    terms = connection.execute("SELECT count(*) FROM weightsearch_terms").fetchone()[0]
    sums = connection.execute("SELECT sum(contribution) FROM weightsearch_terms GROUP BY trial_id, epoch").fetchall()
    versions = json.loads(connection.execute("SELECT content FROM weightsearch_environments").fetchone()[0])["versions"]
    tested = connection.execute(
        "SELECT count(DISTINCT trial_id) FROM weightsearch_metrics WHERE split = 'test'"
    ).fetchone()
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
    printed = command("run", "tiny.yaml", cwd=folder, timeout=60).stdout
    assert "best: trial" in printed
    assert shown(folder) == before


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


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path):
    (tmp_path / "tiny.yaml").write_text(
        TINY.replace("epochs: 4", "epochs: 20").replace("min_epochs: 1", "min_epochs: 10")
    )
    # What is started in the background of a shell, as these tests may be, is deaf to Ctrl-C.
    listens = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", listens, *WEIGHTSEARCH, "run", "tiny.yaml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_epochs(tmp_path / "tiny.db", 4)
    driver.send_signal(signal.SIGINT)
    _, complaints = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "go on from the last checkpoint when the same command is given again" in complaints
    assert "Traceback" not in complaints
    states = shown(tmp_path)["states"]
    assert states["RUNNING"] == 0
    assert states["WAITING"] == 2
    before = curves(tmp_path / "tiny.db")
    command("run", "tiny.yaml", "--set", "search.trials=2", cwd=tmp_path)
    after = curves(tmp_path / "tiny.db")
    assert shown(tmp_path)["states"]["COMPLETE"] == 2
    for number, curve in before.items():
        assert after[number][: len(curve)] == curve  # nothing was trained again


def test_a_second_driver_says_who_has_the_study_and_joins_when_asked(finished):
    folder, _ = finished
    spec = load_study(folder / "tiny.yaml", [f"storage=sqlite:///{folder}/tiny.db", f"resources.run_dir={folder}/runs"])
    holder = StudyRun(spec)
    second = command("run", "tiny.yaml", cwd=folder, expect=3)
    assert f"(process {os.getpid()}, last heard" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    command("run", "tiny.yaml", "--join", cwd=folder)
    holder.close()
    command("run", "tiny.yaml", cwd=folder)


def test_a_new_study_beside_the_old_one(finished):
    folder, _ = finished
    changed = [*ALONE, "--set", "train.lr=0.5", "--set", "search.trials=2", "--set", "train.epochs=1"]
    refused = command("run", "tiny.yaml", *changed, cwd=folder, expect=2)
    assert "start beside it with --force-new NAME" in refused.stderr
    before = shown(folder)
    command("run", "tiny.yaml", *changed, "--force-new", "faster", cwd=folder)
    assert shown(folder) == before
    states = json.loads(command("show", "tiny.yaml", "--set", "name=faster", "--json", cwd=folder).stdout)["states"]
    assert states["COMPLETE"] == 2
    again = command("run", "tiny.yaml", *changed, "--force-new", "faster", cwd=folder, expect=2)
    assert "the study 'faster' is there already; --set name=faster goes on" in again.stderr


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


def test_trials_that_cannot_go_on_are_told_with_their_reason(tmp_path):
    (tmp_path / "bad.py").write_text(
        "import os\n"
        "class Explodes:\n"
        "    def __call__(self, prediction, batch):\n"
        "        return prediction['depth'].mean() * (float('nan') if 'RAY_JOB_ID' in os.environ or len(batch) > 2 else 1)\n"
    )
    tree = yaml.safe_load(TINY)
    tree["loss"]["explodes"] = {"term": "bad:Explodes", "weight": 1.0}
    tree["search"]["trials"] = 2
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(tree))
    done = command("run", "bad.yaml", cwd=tmp_path, expect=1)
    assert (
        "no trial of 'tiny' trained to the end: the loss term 'explodes' is not finite, in epoch 1, step 1"
        in done.stderr
    )
    assert shown(tmp_path, "bad.yaml")["states"]["FAIL"] == 2
    done = command("run", "bad.yaml", "--set", "search.trials=30", cwd=tmp_path, expect=1)
    last = done.stderr.strip().splitlines()[-1]
    first = r"stopped: the last 5 trials failed, the first of them: trial [23]: the loss term 'explodes' is not finite"
    assert re.match(first, last)  # of two that train side by side either may be the first
    states = shown(tmp_path, "bad.yaml")["states"]
    assert (states["FAIL"], states["RUNNING"], states["COMPLETE"] + states["PRUNED"]) == (7, 0, 0)
    assert states["WAITING"] <= 2


def test_a_worker_that_dies_is_retried_from_its_checkpoint_until_it_may_not(tmp_path):
    """The first trial's worker is killed once, the second's each time it comes to its seventh step."""
    (tmp_path / "fatal.py").write_text(
        "import os, pathlib\n"
        "class Dies:\n"
        "    def __init__(self):\n"
        "        self.calls = 0\n"
        "    def __call__(self, prediction, batch):\n"
        "        self.calls += 1\n"
        "        died = pathlib.Path(__file__).with_name('died')\n"
        "        times = len(died.read_text()) if died.exists() else 0\n"
        "        if self.calls == 7 and times != 1:\n"
        "            died.write_text('x' * (times + 1))\n"
        "            os.kill(os.getpid(), 9)\n"
        "        if self.calls == 20 and times == 1:\n"
        "            died.write_text('xx')\n"
        "        return prediction['depth'].mean() ** 2\n"
    )
    tree = yaml.safe_load(TINY)
    tree["loss"]["dies"] = {"term": "fatal:Dies", "weight": 1.0e-6}
    tree["search"] |= {"trials": 2, "pruner": "none"}
    tree["train"]["epochs"] = 5
    tree["resources"] |= {"max_concurrent": 1, "max_failures": 1}
    (tmp_path / "fatal.yaml").write_text(yaml.safe_dump(tree))
    command("run", "fatal.yaml", cwd=tmp_path)
    connection = sqlite3.connect(tmp_path / "tiny.db")
    states = connection.execute("SELECT state FROM trials ORDER BY number").fetchall()
    attempts = connection.execute("SELECT attempts FROM weightsearch_trials ORDER BY trial_id").fetchall()
    reason = connection.execute("SELECT value_json FROM trial_user_attributes WHERE key = 'reason'").fetchall()
    connection.close()
    assert states == [("COMPLETE",), ("FAIL",)]
    assert attempts == [(2,), (2,)]
    assert len(reason) == 1
    assert "its worker failed 2 times: its process died" in reason[0][0]
    assert epochs_of(tmp_path / "tiny.db")[0] == [1, 2, 3, 4, 5]


def test_a_worker_that_dies_between_two_trials_failed_once(tmp_path):
    """Ray Tune tells of a worker that is gone when it shall start its next trial twice."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from weightsearch.search.driver import StudyRun\n"
        "from weightsearch.search.worker import Worker\n"
        "from weightsearch.spec import load_study\n"
        "class Dies(Worker):\n"
        "    def reset_config(self, config):\n"
        f"        died = Path({str(tmp_path / 'died')!r})\n"
        "        if config['number'] == 1 and not died.exists():\n"
        "            died.touch()\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return super().reset_config(config)\n"
        "run = StudyRun(load_study(Path('tiny.yaml'), sys.argv[1:]))\n"
        "run.search(Dies)\n"
        "run.close()\n"
    )
    (tmp_path / "dies.py").write_text(script)
    (tmp_path / "tiny.yaml").write_text(TINY.replace("epochs: 4", "epochs: 1"))
    sets = ["search.trials=3", "search.pruner=none", "resources.max_concurrent=1", "resources.max_failures=1"]
    words = [sys.executable, "dies.py", *sets]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    connection = sqlite3.connect(tmp_path / "tiny.db")
    states = connection.execute("SELECT state FROM trials ORDER BY number").fetchall()
    failures = connection.execute("SELECT failures FROM weightsearch_assignments WHERE failures > 0").fetchall()
    connection.close()
    assert states == [("COMPLETE",)] * 3
    assert failures == [(1,)]


def test_a_full_disk_stops_the_study_and_loses_nothing(tmp_path):
    """The workers' files may not grow beyond 100 kB: what the system answers is what a full disk answers."""
    full = (
        "import os, resource\n"
        "class Full:\n"
        "    def __init__(self):\n"
        "        if 'RAY_JOB_ID' in os.environ:\n"
        "            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "    def __call__(self, prediction, batch):\n"
        "        return prediction['depth'].mean() ** 2\n"
    )
    (tmp_path / "full.py").write_text(full)
    tree = yaml.safe_load(TINY)
    tree["loss"]["full"] = {"term": "full:Full", "weight": 1.0e-6}
    tree["search"] |= {"trials": 2, "pruner": "none"}
    tree["resources"] |= {"max_concurrent": 1, "max_failures": 1}
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(tree))
    done = command("run", "full.yaml", cwd=tmp_path, expect=1)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("stopped: trial 0: cannot write the checkpoint ")
    assert last.endswith("File too large; nothing is lost, give the same command to go on")
    states = shown(tmp_path, "full.yaml")["states"]
    assert (states["FAIL"], states["RUNNING"], states["WAITING"]) == (0, 0, 2)  # the two baselines
    (tmp_path / "full.py").write_text(full.replace("'RAY_JOB_ID'", "'NOTHING'"))  # there is space again
    command("run", "full.yaml", cwd=tmp_path)
    assert shown(tmp_path, "full.yaml")["states"]["COMPLETE"] == 2


def test_a_run_folder_that_cannot_be_written_is_one_line(tiny):
    (tiny.parent / "runs").write_text("a file in its place")
    done = command("run", "tiny.yaml", cwd=tiny.parent, expect=1)
    assert "cannot write the run folder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_first_check_that_fails_leaves_no_study_behind(tmp_path):
    """Its remedy may be another objective, or other data: nothing that was stored contradicts it."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    found = command("run", "tiny.yaml", "--set", "search.objectives={epe: minimize}", cwd=tmp_path, expect=2)
    assert "epe cannot be measured" in found.stderr
    with sqlite3.connect(tmp_path / "tiny.db") as connection:
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]
            for name in ("studies", "weightsearch_studies")
        ]
    assert counts == [0, 0]


def test_vanished_checkpoints_are_told_and_what_was_stored_stays(tmp_path):
    """Of the best trial and the baselines before the comparison; of a trial in the middle of its training."""
    (tmp_path / "tiny.yaml").write_text(
        TINY.replace("epochs: 4", "epochs: 30").replace("min_epochs: 1", "min_epochs: 29")
    )
    two = [*ALONE, "--set", "search.trials=2"]
    driver = subprocess.Popen([*WEIGHTSEARCH, "run", "tiny.yaml", *two], cwd=tmp_path, stdout=subprocess.DEVNULL)
    wait_for_epochs(tmp_path / "tiny.db", 35)  # the second trial is under way
    workers = processes.of_kind(driver.pid, "worker")
    driver.kill()
    driver.wait()
    assert workers
    while any(map(processes.lives, workers)):  # they notice within seconds; until then they write checkpoints
        time.sleep(0.1)
    for folder in (tmp_path / "runs" / "tiny").glob("trials-*/*"):
        shutil.rmtree(folder)
    done = command("run", "tiny.yaml", *two, cwd=tmp_path)
    assert "trial 0 has no test metrics: no such checkpoint" in done.stderr
    assert "trial 1: its checkpoint is gone or older; " in done.stderr
    assert shown(tmp_path)["states"]["COMPLETE"] == 2
    assert epochs_of(tmp_path / "tiny.db") == [list(range(1, 31))] * 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "none.yaml"], "cannot read the study file"),
        (["run", "tiny.yaml", "--set", "train.epoch=3"], "train.epoch: unknown key; did you mean 'epochs'?"),
        (["validate", "tiny.yaml", "--set", "data.root=gone"], "data.root: no such folder"),
        (["train", "tiny.yaml"], "is a range"),
        (["show", "tiny.yaml"], "there is no study database tiny.db yet"),
        (["export", "tiny.yaml"], "there is no study database"),
        (["dashboard", "tiny.yaml"], "there is no study database"),
        (["evaluate", "tiny.yaml", "--checkpoint", "c.pt", "--split", "tset"], "expected train, validation, test"),
        (["run", "tiny.yaml", "--set", "data.min_depth=5.99"], "no training frame has depth between"),
        (["run", "tiny.yaml", "--set", "search.sampler=grid"], "search.sampler: "),
        (["run", "tiny.yaml", "--set", "resources.cpus_per_trial=64"], "one trial takes 64 CPUs"),
        (["run", "tiny.yaml", "--set", "resources.gpus_per_trial=0.5"], "and 0.5 GPUs; Ray has"),
        (["run", "tiny.yaml", "--set", "ray.address=127.0.0.1:1"], "cannot start Ray at ray.address 127.0.0.1:1"),
    ],
)
def test_every_mistake_is_one_line(tiny, words, line):
    status = 1 if "Ray" in line or "GPUs" in line or "CPUs" in line else 2
    done = command(*words, cwd=tiny.parent, expect=status)
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


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


def wait_for_epochs(database: Path, count: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if sum(map(len, curves(database).values())) >= count:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.05)
    pytest.fail(f"no {count} epochs within {seconds} s")


def epochs_of(database: Path) -> list[list[int]]:
    """Those that each trial has reported, in order."""
    return [[epoch for epoch, _ in curve] for curve in curves(database).values()]


def curves(database: Path) -> dict[int, list[tuple[int, float]]]:
    """Trial number -> (epoch, value) in order."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT number, step, intermediate_value FROM trial_intermediate_values JOIN trials USING (trial_id) "
            "ORDER BY number, step"
        ).fetchall()
    finally:
        connection.close()
    found: dict[int, list[tuple[int, float]]] = {}
    for number, step, value in rows:
        found.setdefault(number, []).append((step, value))
    return found
