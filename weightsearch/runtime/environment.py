"""Description of the environment of a training."""

from __future__ import annotations

import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import torch

from weightsearch.records import Environment

MODEL: Final = re.compile(r"^(?:model name|Model|cpu model|uarch)\s*:\s*(.+)$", re.MULTILINE)
PACKAGES: Final = ("weightsearch", "torch", "timm", "numpy", "optuna", "ray")


def describe_environment(device: torch.device, threads: int) -> Environment:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu()
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Environment(platform.node(), f"{device.type}: {name}", threads, git_commit(), versions, cpu())


@cache
def cpu() -> str:
    """CPU model and the instruction set that PyTorch uses; the last bits of results depend on both."""
    match = MODEL.search(_text_of("/proc/cpuinfo"))
    name = match[1].strip() if match else platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:  # not on Linux
        return ""


@cache
def git_commit() -> str:
    """Commit of the working folder's repository, with `+` if tracked files have changed; empty outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=True)  # noqa: S603, S607
    return done.stdout.strip()
