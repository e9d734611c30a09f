"""optuna-dashboard over a study's database, on the loopback interface."""

from __future__ import annotations

import socketserver
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from weightsearch.errors import StoreError
from weightsearch.study.database import Database


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: a line a request is no use to anybody."""


def read_only(app: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse every request that could change the database: optuna-dashboard itself asks nobody who they are."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "this dashboard is read-only"}']

    return guarded


def make_dashboard(storage: str, *, port: int) -> WSGIServer:
    """A server on 127.0.0.1 that shows the database read-only; port 0 takes a free one. Raises StoreError."""
    from optuna_dashboard import wsgi

    database = Database(storage, mode="read")
    try:
        return make_server(
            "127.0.0.1", port, read_only(wsgi(database.storage)), server_class=_Server, handler_class=_Quiet
        )
    except OSError as error:
        raise StoreError(f"cannot serve on port {port}: {error.strerror or error}") from error
