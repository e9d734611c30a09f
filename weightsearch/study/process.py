"""Identity of a driver's process, from which other drivers can tell whether it is still alive."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BOOT = Path("/proc/sys/kernel/random/boot_id")
MACHINE = Path("/etc/machine-id")
CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))


@dataclass(frozen=True)
class Process:
    """Identity of a process. machine: unique id of the host. boot, namespace: ids of the boot and the PID namespace in
    which `pid` is unique while the process lives. started: start time, which tells apart processes that reuse a pid.
    Empty if the system does not provide it."""

    owner: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Process:
        pid = os.getpid()
        return cls(_owner(), _machine(), _text(BOOT), _namespace(), pid, _state_and_start(pid)[1])

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Process:
        return cls(**plain)

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    def is_gone(self) -> bool:
        """Return True only if certain: this machine ran the process, and it has restarted or the process has ended."""
        here = Process.current()
        if not (self.boot and self.namespace and self.started):
            return False
        if self.boot != here.boot:
            return self.machine != "" and self.machine == here.machine
        if self.namespace != here.namespace:
            return False
        state, started = _state_and_start(self.pid)
        return state in ("", "Z", "X") or started != self.started


def _state_and_start(pid: int) -> tuple[str, str]:
    """State letter of a process and its start time in clock ticks since the boot; empty if it does not exist."""
    text = _text(Path(f"/proc/{pid}/stat"))
    fields = text.rpartition(")")[2].split()  # the name, in parentheses, may contain any characters
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


def _machine() -> str:
    """Unique id of the host; empty in a container: containers of one image may have equal ids on two hosts."""
    if not _text(MACHINE) or any(path.exists() for path in CONTAINERS):
        return ""
    return f"{socket.gethostname()} {_text(MACHINE)} {uuid.getnode():012x}"


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
