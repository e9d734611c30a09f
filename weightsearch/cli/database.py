"""Commands about the study's database: dashboard."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Annotated

import typer

from weightsearch.cli.app import Sets, Study, app
from weightsearch.config import load_identity
from weightsearch.console import out


@app.command()
def dashboard(
    study: Study,
    sets: Sets = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback, clients need a token.")] = (
        "127.0.0.1"
    ),
    write: Annotated[bool, typer.Option("--write", help="Allow notes, deletions and other changes.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another host name of the server, such as a proxy's; repeatable."),
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder of the study's artifacts.", exists=True, file_okay=False)
    ] = None,
) -> None:
    """Serve the study's database in optuna-dashboard. Default: read-only, reachable from this machine only.

    The token is that of the environment variable WEIGHTSEARCH_DASHBOARD_TOKEN; if it is not set and a token is needed,
    a new one is printed.
    """
    from weightsearch.dashboards.server.access import is_loopback
    from weightsearch.dashboards.server.serve import make_dashboard

    identity = load_identity(study, sets or ())
    token = os.environ.get("WEIGHTSEARCH_DASHBOARD_TOKEN") or None
    way = "" if token is None else "?token= and the value of WEIGHTSEARCH_DASHBOARD_TOKEN"
    if token is None and (allow_host or not is_loopback(host)):
        token = secrets.token_urlsafe(24)
        way = f"?token={token}"
    server = make_dashboard(
        identity.storage,
        port=port,
        host=host,
        write=write,
        token=token,
        allow_hosts=allow_host or (),
        artifacts=artifacts,
    )
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    out.print(f"http://{shown}:{server.server_port}/{way}  (Ctrl-C ends it)", markup=False)
    if not is_loopback(host):
        out.print("this is not encrypted: beyond a trusted network, use a tunnel or a proxy with TLS", markup=False)
    try:
        server.serve_forever()
    finally:
        server.server_close()
