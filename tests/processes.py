"""Processes as the system (Linux) describes them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LISTENS = "0A"  # the state of a socket in /proc/net/tcp


def fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state letter on; empty if there is no such process."""
    return read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def lives(pid: int) -> bool:
    """A zombie does not."""
    return fields(pid)[:1] not in ([], ["Z"], ["X"])


def below(root: int) -> set[int]:
    """A process and all that it started, directly or not, and that live."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    parents = {pid: int(found[1]) for pid in pids if (found := fields(pid)) and found[0] not in "ZX"}
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family & parents.keys()


def of_kind(root: int, kind: str) -> list[int]:
    """The processes below a driver that are its `worker`s, or its Ray's `raylet` or `gcs_server`."""
    wanted = b"ray::Worker" if kind == "worker" else f"/{kind} ".encode()
    return [pid for pid in below(root) if wanted in read(pid, "cmdline").replace(b"\0", b" ").split(b"--")[0] + b" "]


def read(pid: int, name: str) -> bytes:
    """A file of a process, such as `cmdline` or `environ`; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def listens_at(root: int) -> set[str]:
    """The addresses, as Linux writes them in hexadecimal, at which a process and those below it take connections."""
    inodes = set()
    for pid in below(root):
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {words[1].rpartition(":")[0] for words in lines if words[3] == LISTENS and words[9] in inodes}
