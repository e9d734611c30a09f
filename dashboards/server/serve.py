"""Server of optuna-dashboard for a study's database, behind access control."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.artifacts import FileSystemArtifactStore

from weightsearch.dashboards.server.access import AccessControl, is_loopback, own_names
from weightsearch.dashboards.server.artifacts import Pictures
from weightsearch.errors import StoreError, WeightsearchError
from weightsearch.study.database import Database


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without the base class's look-up of this machine's name, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that break the connection."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 30  # seconds without data from a client

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the address of a request may contain the token."""


def make_dashboard(
    storage: str,
    *,
    port: int,
    host: str = "127.0.0.1",
    write: bool = False,
    token: str | None = None,
    allow_hosts: Iterable[str] = (),
    artifacts: Path | None = None,
) -> WSGIServer:
    """Create the server of the dashboard; port 0 takes a free port. Raises StoreError.

    write: allow changes; otherwise the database itself is opened read-only. token: required in every request; must be
    set unless `host` is a loopback address. allow_hosts: further host names of the server, such as a proxy's.
    artifacts: folder of artifacts other than the database's pictures.
    """
    from optuna_dashboard import wsgi

    others = [*allow_hosts]
    alone = is_loopback(host)
    if token is None and (others or not alone):
        raise WeightsearchError(f"a dashboard that others can reach ({', '.join([host, *others])}) needs a token")
    database = Database(storage, mode="write" if write else "read")
    store = Pictures(database, None if artifacts is None else FileSystemArtifactStore(artifacts))
    hosts = own_names(host) | {name.lower() for name in others}
    try:
        application = AccessControl(wsgi(database.storage, artifact_store=store), hosts, not alone, token, write)
        kind = _Server6 if ":" in host else _Server
        return make_server(host, port, application, server_class=kind, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        database.close()
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot serve on {host}, port {port}: {reason}") from error
