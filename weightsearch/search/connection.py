"""The environment in which Ray is started or joined: settings, token, network interface, signals."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

# Set before Ray is imported. Our workers report little and our database is the only state, so that Tune's own loggers
# and snapshots would only cost time; nothing leaves the machine by itself.
SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # the searcher keeps to the slots; Tune would start workers one by one
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
}
MODE: Final = "RAY_AUTH_MODE"
TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - a name
TOKEN_FILE: Final = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - a name
CLUSTERS: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0: Ray's processes listen on the loopback interface alone
ASK_SECONDS: Final = 60
REFUSED: Final = 3
CLIENT: Final = f"""
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1])
except AuthenticationError:
    sys.exit({REFUSED})
"""


@contextmanager
def on_this_machine() -> Iterator[None]:
    """The environment of a Ray that is started here for one study: it listens on the loopback interface and asks for a
    token that nobody else can read. Ray by itself listens on all interfaces and writes its token into the home folder,
    where `ray start` takes it up."""
    with tempfile.TemporaryDirectory(prefix="weightsearch-") as folder:
        file = Path(folder, "token")
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
        with _environment({MODE: "token", TOKEN: None, TOKEN_FILE: str(file), CLUSTERS: "0"}):
            yield


@contextmanager
def on_a_cluster(address: str) -> Iterator[None]:
    """The environment in which a cluster is joined: with the user's token if there is one and the cluster asks for it.
    A cluster without a token takes any, but a driver with one then refuses the cluster's own calls. Ray may have left a
    token in the home folder."""
    wanted = MODE not in os.environ and _token_is_known() and asks_for_token(address)
    with _environment({MODE: "token"} if wanted else {}):
        yield


def asks_for_token(address: str) -> bool:
    """Whether the cluster at host:port refuses a client without a token. Asked by a process of its own: Ray keeps the
    mode of its first connection, and writes about a refusal."""
    found = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", CLIENT, address],
        env=os.environ | {MODE: "disabled"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=ASK_SECONDS,
        check=False,
    )
    return found.returncode == REFUSED


def advice(address: str) -> str:
    """What to do when a cluster answers and Ray cannot join it."""
    host, _, port = address.rpartition(":")
    token = "" if _token_is_known() else f"; if the cluster has a token, name its file with {TOKEN_FILE}=FILE"
    return f"this machine must be a node of the cluster: ray start --address={host or 'HOST'}:{port or 6379}{token}"


@contextmanager
def signals_kept() -> Iterator[None]:
    """Put signal handlers back afterwards: Ray replaces that of SIGTERM by one that ends the process without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _token_is_known() -> bool:
    if os.environ.get(TOKEN) or os.environ.get(TOKEN_FILE):
        return True
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except (OSError, RuntimeError):  # no home
        return False


@contextmanager
def _environment(changed: Mapping[str, str | None]) -> Iterator[None]:
    """The environment with these variables changed; None removes one."""
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
