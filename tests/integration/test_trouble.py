"""Real studies in which something goes wrong, each told in one line, and nothing lost."""

from __future__ import annotations

import platform
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from tests import processes
from tests.conftest import TINY
from tests.helpers.folders import make
from tests.integration.commands import ALONE, WEIGHTSEARCH, command, curves, epochs_of, shown, wait_for_epochs

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path, number):
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
    driver.send_signal(number)
    _, complaints = driver.communicate(timeout=60)
    assert driver.returncode == 128 + number
    assert re.search(
        r"stopped; resume trials 0, 1 from their checkpoints with: weightsearch run tiny\.yaml", complaints
    )
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


def test_trials_that_cannot_go_on_are_told_with_their_reason(tmp_path):
    (tmp_path / "bad.py").write_text(
        "import os\n"
        "class Explodes:\n"
        "    def __call__(self, prediction, batch):\n"
        "        os.system('echo computed by a child')\n"
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
    log = tmp_path / "runs" / "tiny" / "logs" / "trial_0001.log"
    lines = command("show", "bad.yaml", cwd=tmp_path).stdout.splitlines()
    assert any(line.startswith("  trial 1 failed: ") and line.endswith(f"; log: {log}") for line in lines)
    text = log.read_text()
    assert "computed by a child\n" in text
    assert "TrialFailure: the loss term 'explodes' is not finite" in text
    assert text.count("Traceback (most recent call last)") == 1
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
    for number in (0, 1):
        text = (tmp_path / "runs" / "tiny" / "logs" / f"trial_{number:04d}.log").read_text()
        assert [line.split(":")[0] for line in text.splitlines() if line.startswith("===")] == [
            "=== attempt 1",
            "=== attempt 2",
        ]
        assert "continues after epoch " in text
    assert reason[0][0].endswith(f'; log: {tmp_path / "runs" / "tiny" / "logs" / "trial_0001.log"}"')
    assert len(reason) == 1
    assert "its worker failed 2 times: its process ended without an error" in reason[0][0]
    assert epochs_of(tmp_path / "tiny.db")[0] == [1, 2, 3, 4, 5]


def test_a_worker_that_dies_between_two_trials_failed_once(tmp_path):
    """Ray Tune tells of a worker that is gone when it shall start its next trial twice."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from weightsearch.search.driver import StudyRun\n"
        "from weightsearch.search.worker import Worker\n"
        "from weightsearch.config import load_study\n"
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
    assert "after a failure of its worker" not in done.stderr  # another attempt on this host would fail too
    assert last.startswith("stopped: trial 0: cannot write the checkpoint ")
    assert last.endswith("File too large; nothing is lost: fix that, then resume with: weightsearch run full.yaml")
    states = shown(tmp_path, "full.yaml")["states"]
    assert (states["FAIL"], states["RUNNING"], states["WAITING"]) == (0, 0, 2)  # the two baselines
    (tmp_path / "full.py").write_text(full.replace("'RAY_JOB_ID'", "'NOTHING'"))  # there is space again
    command("run", "full.yaml", cwd=tmp_path)
    assert shown(tmp_path, "full.yaml")["states"]["COMPLETE"] == 2


def test_data_that_change_stop_the_study_before_they_spoil_a_trial(tmp_path):
    """A file of validation depth is overwritten while the first trial trains: no other trial is measured on the new
    file, and no trial is FAIL. The study ends once the file is restored."""
    depth = make(tmp_path / "scene") / "frame-000015.depth.png"
    (tmp_path / "right.png").write_bytes(depth.read_bytes())
    (tmp_path / "hook.py").write_text(
        "import os, pathlib\n"
        "class Hook:\n"
        "    def __call__(self, prediction, batch):\n"
        "        there = pathlib.Path(__file__).parent\n"
        "        new = there / 'new.png'\n"
        f"        depth = pathlib.Path({str(depth)!r})\n"
        "        if 'RAY_JOB_ID' in os.environ and new.exists():\n"
        "            new.rename(depth)\n"
        "        return prediction['depth'].mean() ** 2\n"
    )
    tree = yaml.safe_load(TINY)
    split = {"gap": 0}
    tree["data"] = {"name": "seven_scenes", "root": str(tmp_path / "scene"), "size": [32, 48], "split": split}
    tree["data"] |= {"min_depth": 0.3, "max_depth": 6.0}
    tree["loss"]["hook"] = {"term": "hook:Hook", "weight": 1.0e-6}
    tree["search"] |= {"trials": 2, "pruner": "none"}
    tree["train"]["epochs"] = 1
    tree["resources"] |= {"max_concurrent": 1, "max_failures": 1}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    Image.fromarray(np.full((48, 64), 5000, np.uint16)).save(tmp_path / "new.png")
    done = command("run", "tiny.yaml", cwd=tmp_path, expect=1)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"stopped: trial 1: on the host {platform.node()} the data set is not the one that the study"
    )
    assert "validation depth " in last
    assert last.endswith("nothing is lost: fix that, then resume with: weightsearch run tiny.yaml")
    states = shown(tmp_path)["states"]
    assert (states["COMPLETE"], states["FAIL"], states["RUNNING"], states["WAITING"]) == (1, 0, 0, 1)
    depth.write_bytes((tmp_path / "right.png").read_bytes())
    command("run", "tiny.yaml", cwd=tmp_path)
    assert shown(tmp_path)["states"]["COMPLETE"] == 2


def test_a_run_folder_that_cannot_be_written_is_one_line(tiny):
    (tiny.parent / "runs").write_text("a file in its place")
    done = command("run", "tiny.yaml", cwd=tiny.parent, expect=1)
    assert "cannot write the run folder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_first_check_that_fails_leaves_no_study_behind(tmp_path):
    """Its remedy may be another objective, or other data: nothing that was stored contradicts it."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    found = command("run", "tiny.yaml", "--set", "data.min_depth=5.99", cwd=tmp_path, expect=2)
    assert "no training frame has depth between" in found.stderr
    with sqlite3.connect(tmp_path / "tiny.db") as connection:
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]
            for name in ("studies", "weightsearch_studies")
        ]
    assert counts == [0, 0]


def test_vanished_checkpoints_are_told_and_what_was_stored_stays(tmp_path):
    """The checkpoints of the best trial and the baselines before the comparison; a trial's in the middle of its
    training."""
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
        (["show", "tiny.yaml"], "tiny.db (the storage sqlite:///tiny.db lies in the working folder"),
        (["export", "tiny.yaml"], "there is no study database"),
        (["dashboard", "tiny.yaml"], "there is no study database"),
        (["evaluate", "tiny.yaml", "--checkpoint", "c.pt", "--split", "tset"], "expected train, validation, test"),
        (["run", "tiny.yaml", "--set", "data.min_depth=5.99"], "no training frame has depth between"),
        (["run", "tiny.yaml", "--set", "search.sampler=grid"], "search.sampler: "),
        (["run", "tiny.yaml", "--set", "resources.cpus_per_trial=64"], "one trial takes 64 CPUs"),
        (["run", "tiny.yaml", "--set", "resources.gpus_per_trial=0.5"], "and 0.5 GPUs; Ray has"),
        (["run", "tiny.yaml", "--set", "ray.address=127.0.0.1:1"], "cannot start Ray at ray.address 127.0.0.1:1"),
        (
            ["run", "tiny.yaml", "--set", "ray.address=ray://127.0.0.1:1"],
            "would move the driver to another host; run this",
        ),
        (
            ["validate", "tiny.yaml", "--set", "ray.address=ray://h:1"],
            "would move the driver to another host; run this",
        ),
    ],
)
def test_every_mistake_is_one_line(tiny, words, line):
    of_ray = "Ray" in line and "ray://" not in " ".join(words)  # found when Ray starts, not in the study file
    status = 1 if of_ray or "GPUs" in line or "CPUs" in line else 2
    done = command(*words, cwd=tiny.parent, expect=status)
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
