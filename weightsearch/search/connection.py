"""Environment in which Ray is started or joined: settings, token, network interface, signals."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from weightsearch.errors import SearchError

# Set before Ray is imported. Workers report little and the database holds all state, so that Ray Tune's loggers and
# snapshots would only cost time. No usage statistics are sent.
SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # the searcher limits the trials; Tune would start workers one by one
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
HEAD_TIMEOUT: Final = "RAY_gcs_rpc_server_reconnect_timeout_s"  # timeout of a driver for a head that does not answer
HERE_SECONDS: Final = 20
HEAD_SECONDS: Final = 60
MODE: Final = "RAY_AUTH_MODE"
TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - a name
TOKEN_FILE: Final = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - a name
CLUSTERS: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0: Ray's processes listen on the loopback interface only
ASK_SECONDS: Final = 60
REFUSED: Final = 3
SILENT: Final = 4
CLIENT: Final = f"""
import sys
from weightsearch.search.ray_internals import connect_to_head
from ray.exceptions import AuthenticationError, RpcError
try:
    connect_to_head(sys.argv[1])
except AuthenticationError:
    sys.exit({REFUSED})
except RpcError:
    sys.exit({SILENT})
"""


def check_address(address: str | None) -> None:
    """Raise SearchError for an address that no driver can use."""
    if address is not None and address.startswith("ray://"):
        raise SearchError(
            f"Ray would move the driver of {address} to another host; run this command on a node of the cluster, with "
            "ray.address: HOST:PORT as in ray start --address=HOST:PORT"
        )


def connect(address: str, seconds: float) -> None:
    """Raise OSError if no process listens at `host:port`."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=seconds).close()


@contextmanager
def on_this_machine() -> Iterator[None]:
    """Set the environment for a Ray started here for one study: it listens on the loopback interface and requires a
    token in a private file. By default Ray listens on all interfaces and writes its token to the home folder, where
    `ray start` reads it."""
    with tempfile.TemporaryDirectory(prefix="weightsearch-") as folder:
        file = Path(folder, "token")
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
        private = {MODE: "token", TOKEN: None, TOKEN_FILE: str(file), CLUSTERS: "0", HEAD_TIMEOUT: str(HERE_SECONDS)}
        with _environment(private):
            yield


@contextmanager
def on_a_cluster(address: str) -> Iterator[None]:
    """Set the environment for joining the cluster at host:port: with the user's token only if the cluster requires it,
    since a driver with a token refuses calls of a cluster without, and Ray may have left a token in the home folder.
    Raises SearchError if no Ray answers, or if the cluster refuses the token or its absence."""
    mode = os.environ.get(MODE)
    if mode == "token":
        _check_token_file()
    answer = ask(address, mode or "disabled")
    if answer == REFUSED and mode is None and _has_token():
        _check_token_file()
        mode = "token"
        answer = ask(address, mode)
    if answer == SILENT:
        raise SearchError(
            "the port answers, but no head of a Ray cluster; HOST:PORT is in what ray start --head prints"
        )
    if answer == REFUSED:
        raise SearchError(_refusal(mode))
    with _environment({HEAD_TIMEOUT: str(HEAD_SECONDS)} | ({} if mode is None else {MODE: mode})):
        yield


def ask(address: str, mode: str) -> int:
    """Test whether the cluster at host:port accepts a client in an authentication mode. Returns REFUSED, SILENT (no Ray
    answers), or any other value if Ray may be started. Uses a separate process: Ray keeps the mode of its first
    connection, and prints refusals."""
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", CLIENT, address],
            env=os.environ | {MODE: mode},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=ASK_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return SILENT


def advice(address: str) -> str:
    """Advice if the cluster at host:port answers but cannot be joined."""
    return f"this machine must be a node of the cluster: ray start --address={address}"


def _refusal(mode: str | None) -> str:
    """Message for a refused client, with advice. mode: RAY_AUTH_MODE, None if it is not set."""
    remedy = f"name the file of the cluster's token with {TOKEN_FILE}=FILE"
    if mode == "token":
        return f"the cluster refuses the token that this machine has; {remedy}"
    if mode is not None:
        remedy = f"unset {MODE}, which is {mode!r}"
    return f"the cluster asks for a token; {remedy}"


@contextmanager
def preserved_signals() -> Iterator[None]:
    """Restore the handler of SIGTERM afterwards: Ray replaces it by a handler that ends the process silently."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_token_file() -> None:
    """Raise SearchError if the token file does not exist."""
    file = os.environ.get(TOKEN_FILE)
    if file and not os.environ.get(TOKEN) and not Path(file).is_file():
        raise SearchError(f"{TOKEN_FILE}: no such file: {file}")


def _has_token() -> bool:
    if os.environ.get(TOKEN) or os.environ.get(TOKEN_FILE):
        return True
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except (OSError, RuntimeError):  # no home
        return False


@contextmanager
def _environment(changed: Mapping[str, str | None]) -> Iterator[None]:
    """Change environment variables within the block; the value None removes a variable."""
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
