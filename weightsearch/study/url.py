"""Database URLs: parsing, and names without passwords."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from weightsearch.errors import StoreError


def passwords(url: URL) -> list[str]:
    """Passwords in a URL, from its user part and its options."""
    options = [value for key, value in url.query.items() if "password" in key.lower()]
    return [str(value) for value in (url.password, *options) if value]


def shown(url: URL) -> str:
    """Name of a database for messages: without password and options, and without a user that has no password; an
    SQLite file with its absolute path."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{os.path.abspath(str(url.database))}"
    if url.password is None:  # the user may be a password, with the user name missing
        url = URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def parse_url(text: str) -> URL:
    """Parse a database URL. Raises StoreError without the text, which may contain a password."""
    if text.startswith("sqlite"):
        return _parse_file(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number; it may be part of a password
        raise StoreError(
            "storage: not a database URL; write sqlite:///file.db or postgresql://user@host/name, where : / @ ? # % in "
            "a user or password are written %3A %2F %40 %3F %23 %25"
        ) from None
    if url.get_backend_name() != "postgresql":
        raise StoreError("storage: not a database URL that can be used; write sqlite:///file.db or postgresql://...")
    if "@" in f"{url.host}{url.database}{text.partition('?')[2]}":
        raise StoreError("storage: in the password of a database URL % is written %25, @ %40, / %2F, ? %3F, # %23")
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise StoreError(f"storage: {url.drivername} is not supported; use sqlite or postgresql")
    return url.set(drivername="postgresql+psycopg")


def check_storage(storage: str, where: str) -> None:
    """Raise StoreError if a storage is not a database URL. where: its position in the study file."""
    try:
        parse_url(storage)
    except StoreError as error:
        raise StoreError(f"{error} ({where})") from None


def _parse_file(text: str) -> URL:
    """Parse an SQLite URL. Everything up to the last slash is a path, also with `?`; `%41` is `A`, as in every URL."""
    kind, _, rest = text.partition("://")
    if kind not in ("sqlite", "sqlite+pysqlite"):
        raise StoreError(f"storage: {kind} is not supported; use sqlite or postgresql")
    folder, slash, name = rest.removeprefix("/").rpartition("/")
    name, _, options = name.partition("?")
    database = unquote(f"{folder}{slash}{name}")
    if not rest.startswith("/") or database in ("", ":memory:"):
        raise StoreError("storage: a database in memory would be lost; write sqlite:///file.db")
    return URL.create(kind, database=database, query=dict(parse_qsl(options)))
