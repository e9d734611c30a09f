"""Opening a study database: SQLite or PostgreSQL, Optuna's storage and our tables on one engine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import optuna
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from weightsearch.errors import StoreError, StoreMissing, StoreUnavailable, one_line
from weightsearch.study import migrations, optuna_internals
from weightsearch.study.url import parse_url, passwords, shown

BUSY_SECONDS = 30
PENDING: Final = "weightsearch_writes"  # execution option of transactions that write

# Client and server notice within a minute that the other machine is gone, before the operating system would.
KEEPALIVES: Final = {"keepalives_idle": "20", "keepalives_interval": "10", "keepalives_count": "3"}
SERVER: Final = {"connect_timeout": "10", "tcp_user_timeout": "50000", **KEEPALIVES}

# Texts of permanent connection errors: libpq gives no code for them.
LASTING: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "invalid connection option",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied",
)

PASSING: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
# Limits for locks of a driver that stops, or whose machine stops, within a transaction.
SESSION: Final = "; ".join(
    f"SET {name} = '{value}'"
    for name, value in {
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "60s",
        **{f"tcp_{name}": value for name, value in KEEPALIVES.items()},
    }.items()
)

Mode = Literal["read", "write", "create"]


class Database:
    """A study database.

    url: its password never appears in messages. mode: `read` changes nothing, `write` allows changes, `create` also
    creates a missing database or missing tables. clock: seconds, in place of the database's own clock (for
    simulations). study: name of the study to be used; if another program made a study of that name, nothing is changed.

    storage: Optuna's storage. engine: shared with Optuna. Raises StoreError if it is not a study database.
    """

    def __init__(
        self, url: str, *, mode: Mode, clock: Callable[[], float] | None = None, study: str | None = None
    ) -> None:
        self.url = parse_url(url)
        self.name = shown(self.url)
        self.clock = clock
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if mode != "create" and self.sqlite and not Path(str(self.url.database)).exists():
            raise _missing(Path(str(self.url.database)))
        self._optuna = sa.MetaData()  # definitions of Optuna's tables that were read
        self._local = threading.local()
        self._file: tuple[int, int] | None = None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with self.errors(), self._opening():
            version, self._optunas = self._look(read=mode == "read", study=study)
            if version is None and mode != "create":
                raise StoreError(f"{self.name}: there are no studies of weightsearch in this database")
            if mode == "read" and version != migrations.VERSION:
                Database(url, mode="write").close()  # brings the tables up to date
            if self.sqlite and not self._optunas:
                self._make_file()
                self._optunas = True
            self._open(read=mode == "read")

    def close(self) -> None:
        self.storage.remove_session()
        self.engine.dispose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the database's errors into one line without the password: StoreUnavailable for temporary errors,
        StoreError for all others."""
        try:
            yield
        except optuna.exceptions.StorageInternalError as error:
            raise self._error(error.__cause__ or error) from None
        except SQLAlchemyError as error:
            raise self._error(error) from None
        except (ValueError, LookupError, TypeError, AssertionError) as error:
            if not _while_reading(error):
                raise
            what = one_line(f"{type(error).__name__}: {error}")
            raise StoreError(
                f"{self.name}: what is stored there cannot be read: {what}{migrations.rescue(self.name)}"
            ) from None

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise StoreError(
                f"{self.name}: the database driver is missing; pip install 'weightsearch[postgres]'"
            ) from error
        except RuntimeError as error:  # Optuna's error for a schema of another version
            raise self._error(error) from None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction with a consistent view of the database, or use this thread's open write transaction."""
        if (held := self._held()) is not None:
            yield held
            return
        with self.errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a write transaction for everything that this thread does inside, including Optuna's writes: all or
        nothing. An SQLite file has one writer at a time, over all processes. May be nested; the outermost commits."""
        if (held := self._held()) is not None:
            yield held
            return
        self._check_file()
        with self.errors(), self.engine.connect() as plain:
            connection = plain.execution_options(**{PENDING: True})
            with connection.begin():
                self.storage.remove_session()
                # Optuna's sessions of this thread become savepoints of this transaction.
                self.storage.scoped_session.registry.set(
                    Session(bind=connection, join_transaction_mode="create_savepoint")
                )
                self._local.connection = connection
                try:
                    yield connection
                finally:
                    self._local.connection = None
                    self.storage.remove_session()

    def now(self) -> sa.ColumnElement[float]:
        """SQL expression for the database's time in seconds since 1970, the same for all drivers."""
        if self.clock is not None:
            return sa.literal(self.clock(), sa.Float(53))
        if self.sqlite:
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float(53))
        return sa.literal_column("EXTRACT(EPOCH FROM clock_timestamp())::float8", sa.Float(53))

    def optuna_table(self, name: str) -> sa.Table:
        """Optuna's table of this name, as it is in the database."""
        with self.reading() as connection:
            return sa.Table(name, self._optuna, autoload_with=connection, resolve_fks=False, keep_existing=True)

    def _check_file(self) -> None:
        """Raise StoreError if the SQLite file was removed or replaced: writes would be lost."""
        if self.sqlite and self._file is not None and self._file != _identity(self.url):
            raise StoreError(
                f"{self.name}: the file was removed or replaced while it was in use; put it back, with the "
                "-wal and -shm files beside it, and give the same command; without it, run starts a new study"
            )

    def _held(self) -> sa.Connection | None:
        return getattr(self._local, "connection", None)

    def _look(self, *, read: bool, study: str | None) -> tuple[int | None, bool]:
        """Check the database before anything is written. Returns the version of weightsearch's tables (None without
        them), and whether Optuna's tables exist."""
        engine = sa.create_engine(self._url(read=read), **self._options(read=read))
        try:
            with engine.connect() as connection:
                return migrations.look(connection, self.name, create_file=not read, study=study)
        finally:
            engine.dispose()

    def _make_file(self) -> None:
        """Create Optuna's tables in one transaction. Optuna creates them one by one in SQLite: other processes, or this
        one after a kill, could find an incomplete set."""
        engine = sa.create_engine(self._url(read=False), **self._options(read=False))
        sa.event.listen(engine, "connect", _read_pragmas)
        sa.event.listen(engine, "begin", _begin)
        try:
            with engine.connect() as plain:
                connection = plain.execution_options(**{PENDING: True})
                with connection.begin():
                    optuna_internals.create_tables(connection)
        finally:
            engine.dispose()

    def _open(self, *, read: bool) -> None:
        text = self._url(read=read).render_as_string(hide_password=False)
        text = text.replace("{", "{{").replace("}", "}}")  # Optuna uses its URL as a format string
        patience = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.storage = _optuna_storage(text, self._options(read=read), made=self._optunas)
                break
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                if not _made_already(error) or time.monotonic() > patience:
                    raise
                time.sleep(0.1)
        self.engine: sa.Engine = self.storage.engine
        if self.sqlite:
            sa.event.listen(self.engine, "connect", _read_pragmas if read else _write_pragmas)
            sa.event.listen(self.engine, "begin", _begin)
            self._file = _identity(self.url)
        else:
            sa.event.listen(self.engine, "connect", _session)
        self.engine.dispose()
        try:
            if not read:
                with self.writing() as connection:
                    migrations.bring_up_to_date(connection)
        except BaseException:
            self.close()
            raise

    def _url(self, *, read: bool) -> URL:
        if not self.sqlite:
            return self.url
        path = Path(str(self.url.database)).absolute()
        if not read:
            if "?" not in str(path):  # SQLAlchemy before 2.1 parses `?` as the start of options
                return self.url
            options = {**self.url.query, "uri": "true", "mode": "rwc"}
            return self.url.set(database=f"file:{quote(str(path))}", query=options)
        options = {"uri": "true", "mode": "ro"}
        if not migrations.has_log(path) and not migrations.can_be_written(path):
            options["immutable"] = "1"  # otherwise SQLite creates files beside it even to read
        return self.url.set(database=f"file:{quote(str(path))}", query=options)

    def _options(self, *, read: bool) -> dict[str, Any]:
        if self.sqlite:
            return {"connect_args": {"timeout": BUSY_SECONDS}}
        options = {key: value for key, value in SERVER.items() if key not in self.url.query}
        if read:
            given = self.url.query.get("options", os.environ.get("PGOPTIONS", ""))
            options["options"] = f"{given} -c default_transaction_read_only=on".strip()
        return {"pool_pre_ping": True, "connect_args": options}

    def _error(self, error: BaseException) -> StoreError:
        kind = StoreUnavailable if _passes(error) else StoreError
        return kind(f"{self.name}: {self._reason(error)}")

    def _reason(self, error: BaseException) -> str:
        original: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        lines = [line.strip() for line in str(original).splitlines() if line.strip()]
        text = one_line(lines[0]).partition(" with text ")[0] if lines else type(original).__name__
        for secret in passwords(self.url):
            text = text.replace(secret, "***")
        return f"{text}{_advice(original, self.name, encoded=self.url.password is not None)}"


def _passes(error: BaseException) -> bool:
    """Return True for temporary errors: the server is gone or starting, or a lock is held."""
    # Optuna reuses a connection that has just broken, which SQLAlchemy calls a pending rollback.
    if isinstance(error, (sa.exc.TimeoutError, sa.exc.PendingRollbackError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    original: Any = error.orig
    if isinstance(original, sqlite3.Error):
        return getattr(original, "sqlite_errorname", "").startswith(PASSING)
    if error.connection_invalidated:
        return True
    state = getattr(original, "sqlstate", None)
    if state is None:  # the connection failed or broke
        lasting = any(word in str(original) for word in LASTING)
        return isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)) and not lasting
    # connection exceptions; shutdown, crash, starting up; too many clients, no memory; serialization, deadlock, lock;
    # a standby server, read-only until it takes over
    return state[:2] == "08" or state in (
        *("57P01", "57P02", "57P03", "25P03", "53300", "53200", "40001", "40P01", "55P03", "25006"),
    )


def _while_reading(error: BaseException) -> bool:
    """Return True if an exception comes from decoding rows: from SQLAlchemy, JSON, or Optuna's storages and
    distributions, where damaged pages raise. Optuna's samplers and state checks do not read."""
    frames = traceback.extract_tb(error.__traceback__)
    words = Path(frames[-1].filename).parts if frames else ()
    reads = any(name in words for name in ("sqlalchemy", "json")) or (
        "optuna" in words and ("storages" in words or words[-1] == "distributions.py")
    )
    return isinstance(error, UnicodeDecodeError) or reads


def _optuna_storage(url: str, options: dict[str, Any], *, made: bool) -> optuna.storages.RDBStorage:
    """Open Optuna's storage, or close its connections and raise. made: its tables exist."""
    storage = optuna.storages.RDBStorage.__new__(optuna.storages.RDBStorage)
    try:
        storage.__init__(url, engine_kwargs=options, skip_table_creation=made)  # type: ignore[misc]
    except BaseException:
        if hasattr(storage, "engine"):
            storage.engine.dispose()
        raise
    return storage


def _made_already(error: BaseException) -> bool:
    """Return True if another process created the same table or row at the same time."""
    error = error.__cause__ or error if isinstance(error, optuna.exceptions.StorageInternalError) else error
    return isinstance(error, sa.exc.IntegrityError) or "already exists" in str(error)


def _advice(original: object, file: str, *, encoded: bool) -> str:
    """Advice to append to an error message; may be empty. encoded: the database's URL has a password."""
    name = getattr(original, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"; another program has held it for {BUSY_SECONDS} s"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return "; its folder must exist, and neither may be read-only"
    if encoded and "password authentication failed" in str(original):
        return "; in the password of a database URL % is written %25, @ %40, / %2F, ? %3F, # %23"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "Could not decode" in str(original):
        return migrations.rescue(file)
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return "; what was stored before is safe"
    return ""


def _missing(path: Path) -> StoreMissing:
    whole = os.path.abspath(path)
    where = ""
    if not path.is_absolute():
        where = f" (the storage sqlite:///{path} lies in the working folder: go to the folder where the study was run)"
    return StoreMissing(f"there is no study database {whole}{where}; `weightsearch run` would create one")


def _identity(url: URL) -> tuple[int, int] | None:
    try:
        status = Path(str(url.database)).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _session(connection: Any, _: object) -> None:
    connection.execute(SESSION)
    connection.commit()


def _read_pragmas(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin`


def _write_pragmas(connection: Any, _: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # stored data survives a power cut
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(PENDING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
