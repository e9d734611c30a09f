"""The database's password reaches nothing but the driver: everything that a study leaves behind is searched for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from tests.conftest import TINY
from tests.integration.commands import WEIGHTSEARCH
from tests.processes import below, read
from tests.servers import PASSWORD, Postgres, server_folder

pytestmark = pytest.mark.slow

FORMS = {form.encode() for form in (PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""))}
STUDY = TINY.replace("sqlite:///tiny.db", "${WEIGHTSEARCH_STORAGE}")


@pytest.fixture(scope="module")
def server():
    with server_folder() as folder:
        made = Postgres(folder)
        made.create("ann")
        yield made
        made.close()


def holding(folder: Path) -> list[str]:
    """The files that hold the password in any form."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in FORMS)]


@pytest.mark.parametrize("way", ["part", "passfile", "command line"])
def test_it_is_in_nothing_that_a_study_leaves_behind(server, tmp_path, way):
    """A study with a trial that fails with the environment in its message, exported and shown; Ray's logs included."""
    (tmp_path / "leaky.py").write_text(
        "import os\n"
        "class Leaks:\n"
        "    def __call__(self, prediction, batch):\n"
        "        if 'RAY_JOB_ID' in os.environ:\n"
        "            print(dict(os.environ), flush=True)\n"
        "            raise RuntimeError(str(sorted(os.environ.items())))\n"
        "        return prediction['depth'].mean()\n"
    )
    tree = yaml.safe_load(STUDY)
    tree["loss"]["leaks"] = {"term": "leaky:Leaks", "weight": {"choices": [0.0, 1.0]}}
    tree["search"] |= {"trials": 1, "baselines": {}}
    tree["train"]["epochs"] = 1
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    plain, full = server.url("ann", user="ann"), server.url("ann", user="ann", password=PASSWORD)
    secrets = tmp_path.parent / f"{tmp_path.name}-driver"
    secrets.mkdir()
    (secrets / "pgpass").write_text(f"*:*:*:ann:{PASSWORD}\n".replace(":x\n", "\\:x\n"))
    (secrets / "pgpass").chmod(0o600)
    # Sockets' paths are short, so that Ray's folder cannot lie below the test's.
    ray = Path("/tmp") / f"ws{os.getpid()}-{way[:4]}"
    environment = {**os.environ, "RAY_TMPDIR": str(ray), "WEIGHTSEARCH_STORAGE": plain}
    words: list[str] = ["--set", f"name={way.replace(' ', '-')}"]
    if way == "part":  # only the password, encoded, in a variable of its own
        environment["DB_SECRET"] = quote(PASSWORD, safe="")
        tree["storage"] = plain.replace("ann@", "ann:${DB_SECRET}@")
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    elif way == "passfile":
        environment["PGPASSFILE"] = str(secrets / "pgpass")
    else:
        words += ["--set", f"storage={full}"]
    outputs = []
    seen: dict[int, tuple[bytes, bytes]] = {}
    driver = subprocess.Popen(
        [*WEIGHTSEARCH, "run", "tiny.yaml", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    time.sleep(0.5)  # by then it has started itself again without the password
    while driver.poll() is None:
        seen |= {pid: (read(pid, "cmdline"), read(pid, "environ")) for pid in below(driver.pid)}
        time.sleep(0.1)
    outputs.append(driver.communicate()[0])
    assert b"1 FAIL" in outputs[0], outputs[0]
    assert len(seen) > 4  # Ray's processes and workers among them
    for arguments in (["show", "tiny.yaml"], ["export", "tiny.yaml"]):
        done = subprocess.run([*WEIGHTSEARCH, *arguments, *words], cwd=tmp_path, env=environment, capture_output=True)
        outputs += [done.stdout, done.stderr]
    for pid, (line, variables) in seen.items():
        assert not any(form in line for form in FORMS), line
        assert pid == driver.pid or not any(form in variables for form in FORMS), line
    assert not any(form in output for form in FORMS for output in outputs)
    assert holding(tmp_path) == []
    assert any(ray.rglob("*.out"))  # the workers printed their environment there
    assert holding(ray) == []
    with server.connect() as connection:
        held = connection.execute("SELECT datname FROM pg_database WHERE datname = 'ann'").fetchall()
    assert held == [("ann",)]


def test_a_wrong_password_is_one_line_without_it(server, tmp_path):
    (tmp_path / "tiny.yaml").write_text(STUDY)
    url = server.url("ann", user="ann", password="wr0ng-secret")
    environment = {**os.environ, "WEIGHTSEARCH_STORAGE": url}
    done = subprocess.run(
        [*WEIGHTSEARCH, "show", "tiny.yaml"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "password authentication failed" in done.stderr
    assert "in the password of a database URL % is written %25, @ %40" in done.stderr
    assert "wr0ng-secret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["dashboard", "postgresql://ann:s3cr3tpw@127.0.0.1:1/db"],
        ["show", "tiny.yaml", "postgresql://ann:s3cr3tpw@127.0.0.1:1/db"],
        ["validate", "tiny.yaml", "--set", "storge=postgresql://ann@h/db?password=s3cr3tpw"],
        ["show", "tiny.yaml", "--set", "Storage=postgresql://ann:top@s3cr3tpw@h/db"],
        ["show", "tiny.yaml", "--set", "storage=postgresql://ann@h/db&password=s3cr3tpw"],
        ["show", "tiny.yaml", "--set", "storage=postgresql://ann:top@s3cr3tpw/word@127.0.0.1:1/db"],
        ["show", "tiny.yaml", "--set", "storage=s3cr3tpw@postgresql://h/db"],
        ["show", "tiny.yaml", "--set", "storage=[postgresql://ann:s3cr3tpw@h/db]"],
        ["show", "tiny.yaml", "--set", "storage=mysql://ann:s3cr3tpw@h/db"],
        ["show", "tiny.yaml", "--set", "name=postgresql://a_rather_long_user_name:s3cr3tpw-which-is-long@host/db"],
        ["show", "leaky.yaml"],
    ],
)
def test_a_misplaced_password_is_not_repeated(tmp_path, words):
    (tmp_path / "tiny.yaml").write_text(TINY)
    url = "postgresql://a_rather_long_user_name:s3cr3tpw-which-is-long-enough@host/db"
    (tmp_path / "leaky.yaml").write_text(TINY.replace("name: tiny", f"name: {url}"))
    done = subprocess.run([*WEIGHTSEARCH, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert "s3cr3tpw" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_it_is_in_no_repr_and_no_traceback(server, tmp_path):
    """A traceback that prints every local variable of every frame."""
    code = (
        "import os, sys, traceback\n"
        "from pathlib import Path\n"
        "from weightsearch.config import load_study\n"
        "from weightsearch.search.driver import StudyRun\n"
        "from weightsearch.search.ledger import Ledger\n"
        "config = load_study(Path('tiny.yaml'), ['name=traced'])\n"
        "run = StudyRun(config)\n"
        "ledger = Ledger(config, run.writer)\n"
        "print(repr([config, run, ledger, run.store, run.store.database, run.store.database.url, run.store.study,\n"
        "    run.store.database.engine, run.store.database.storage, run.lease, run.writer]))\n"
        "try:\n"
        "    with run.writer.transaction() as connection:\n"
        "        connection.exec_driver_sql('SELECT nothing FROM nowhere')\n"
        "except Exception as error:\n"
        "    frames = traceback.TracebackException.from_exception(error, capture_locals=True)\n"
        "    print(''.join(frames.format()))\n"
        "run.close()\n"
    )
    (tmp_path / "tiny.yaml").write_text(STUDY)
    url = server.url("ann", user="ann", password=PASSWORD)
    environment = {**os.environ, "WEIGHTSEARCH_STORAGE": url}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"nowhere" in done.stdout
    text = done.stdout + done.stderr
    assert not any(form in text for form in FORMS), re.findall(rb".{80}3cr3t.{20}", text)
