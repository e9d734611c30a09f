"""Opening a study database: SQLite or PostgreSQL, Optuna's storage and our tables on one engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from weightsearch.errors import StoreError
from weightsearch.study import tables

BUSY_SECONDS = 30


class Database:
    """url: of the database; its password is in no text that this class makes. storage: Optuna's. engine: shared."""

    def __init__(self, url: str, *, create: bool) -> None:
        self.url = _parse(url)
        if not create:
            _must_exist(self.url)
        self.name = self.url.set(query={}).render_as_string(hide_password=True)
        self._optuna = sa.MetaData()  # what was read of Optuna's tables
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self.errors():
            if not create:
                _must_be_ours(self.url, self.name)
            self.storage = optuna.storages.RDBStorage(
                self.url.render_as_string(hide_password=False), engine_kwargs=_engine_options(self.url)
            )
            self.engine: sa.Engine = self.storage.engine
            if self.url.get_backend_name() == "sqlite":
                sa.event.listen(self.engine, "connect", _sqlite_pragmas)
                self.engine.dispose()
            try:
                self._migrate()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self.storage.remove_session()
        self.engine.dispose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the database's errors into one line without the password."""
        try:
            yield
        except ImportError as error:
            raise StoreError(
                f"{self.name}: the database driver is missing; pip install 'weightsearch[postgres]'"
            ) from error
        except optuna.exceptions.StorageInternalError as error:
            raise StoreError(f"{self.name}: {self._reason(error.__cause__ or error)}") from None
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name}: {self._reason(error)}") from None
        except RuntimeError as error:  # Optuna's word for a schema of another version
            raise StoreError(f"{self.name}: {self._reason(error)}") from None

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self.errors(), self.engine.begin() as connection:
            yield connection

    def optuna_table(self, name: str) -> sa.Table:
        """One of Optuna's own tables, as it is in the database."""
        with self.errors():
            return sa.Table(name, self._optuna, autoload_with=self.engine, resolve_fks=False, keep_existing=True)

    def _migrate(self) -> None:
        tables.metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            version = connection.scalar(sa.select(tables.schema.c.version))
            if version is None:
                connection.execute(sa.insert(tables.schema).values(version=tables.SCHEMA_VERSION))
            elif version != tables.SCHEMA_VERSION:
                raise StoreError(
                    f"{self.name}: its tables have version {version}, this weightsearch reads "
                    f"{tables.SCHEMA_VERSION}; use the weightsearch that wrote it"
                )

    def _reason(self, error: BaseException) -> str:
        original: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        lines = [line.strip() for line in str(original).splitlines() if line.strip()]
        text = lines[0] if lines else type(original).__name__
        hidden = [str(self.url.password)] if self.url.password else []
        hidden += [str(value) for key, value in self.url.query.items() if "password" in key.lower()]
        for secret in hidden:
            text = text.replace(secret, "***")
        return text


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError of a port that is no number: its text may be a password
        raise StoreError(
            "storage: not a database URL; write sqlite:///file.db or postgresql://user@host/name"
        ) from None
    backend = url.get_backend_name()
    if backend == "postgresql" and url.drivername == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"storage: {backend} is not supported; use sqlite or postgresql")
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise StoreError("storage: a database in memory would be lost; write sqlite:///file.db")
    return url


def _must_exist(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        raise StoreError(f"there is no study database {url.database} yet; `weightsearch run` creates it")


def _must_be_ours(url: URL, name: str) -> None:
    """Raise StoreError for a database without our tables, before Optuna writes its own into it."""
    engine = sa.create_engine(url, **_engine_options(url))
    try:
        if not sa.inspect(engine).has_table(tables.studies.name):
            raise StoreError(f"{name}: there are no studies of weightsearch in this database")
    finally:
        engine.dispose()


def _engine_options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"pool_pre_ping": True}


def _sqlite_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last commits, never the file
    cursor.close()
