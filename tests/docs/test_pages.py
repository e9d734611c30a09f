"""Everything that README and documentation show runs: each page's files, commands and Python, in order, in a folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import ROOT
from weightsearch.config import load_base, load_study
from weightsearch.config.extends import shipped
from weightsearch.data.cache import build_source
from weightsearch.data.dataset import outline

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
BLOCK = re.compile(r"^( *)```([\w-]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LANGUAGES = {"console", "yaml", "python", "text", ""}
# Smaller trainings than a reader's: what is shown runs, with these at the end.
SIZE = "data.size=[64, 64]"
LESS = {"run": ["search.trials=4", "train.epochs=1", SIZE], "train": ["train.epochs=1", SIZE], "evaluate": [SIZE]}
SKIPPED = ("pip install", "python -m sphinx")  # the site is built by .ci/run; the tests run in an installation


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name that a file's first line gives: `# my_losses.py, beside the study file`."""
        found = re.match(r"# ([\w.-]+\.(?:py|yaml))\b", self.text)
        return found[1] if found else None


def blocks(page: Path) -> list[Block]:
    found = []
    for indent, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        found.append(Block(language, "\n".join(lines) + "\n"))
    return found


SHOWN = {str(page.relative_to(ROOT)): blocks(page) for page in PAGES}
COMMANDS = [
    (page, line.removeprefix("$ "))
    for page, found in SHOWN.items()
    for block in found
    if block.language == "console"
    for line in block.text.splitlines()
]


def test_every_block_says_what_it_is():
    assert {block.language for found in SHOWN.values() for block in found} <= LANGUAGES
    assert all(line.text.startswith("$ ") for found in SHOWN.values() for line in found if line.language == "console")
    assert len(COMMANDS) > 25


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page, found in SHOWN.items() for block in found if block.language == "yaml"],
    ids=lambda value: value if isinstance(value, str) else value.file or value.text.split(":")[0],
)
def test_every_part_of_a_study_is_valid(page, block, tmp_path, monkeypatch):
    """A part without a file name is laid over the shipped study it fits to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("DB_PASSWORD", "secret")
    own_data(tmp_path)
    for other in SHOWN[page]:
        if other.file:
            (tmp_path / other.file).write_text(other.text)
    tree = yaml.safe_load(block.text)
    if block.file:
        study = load_study(tmp_path / block.file)
        assert study.space
        return
    base = "cotraining" if "rebalance" in tree else "dualhead" if "integer" in tree.get("loss", {}) else "silog"
    if base == "dualhead" or "objectives" not in tree.get("search", {}) or "pruner" in tree.get("search", {}):
        tree = {"search": {"baselines": without_baselines(base)}} | tree
    if "pretrained" in block.text:
        tree["model"]["weights"] = "none"  # nothing is downloaded
    if "fractional" in block.text or "published" in block.text:
        base = "dualhead"
        tree.setdefault("search", {}).pop("baselines", None)
    assert load_study({"extends": base, "name": "part", **tree}).space


def without_baselines(base: str) -> dict[str, None]:
    return dict.fromkeys(load_study(shipped()[base]).search.baselines)


def own_data(folder: Path) -> None:
    """A user's images and depth maps."""
    base = load_base(shipped()["silog"], ["data.frames=30", "data.scenes=1", "data.size=[48, 64]"])
    source = build_source(base)
    data = folder / "my_data"
    lines = []
    for number in range(30):
        frame = source.read(0, number)
        image, depth = Path("rgb", f"{number:04d}.jpg"), Path("depth", f"{number:04d}.png")
        for path, values in ((image, frame.image), (depth, (frame.depth * 1000).astype(np.uint16))):
            (data / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(data / path)
        lines.append(f"{image} {depth}\n")
    (data / "frames.txt").write_text("".join(lines))


def small(command: str, page: str) -> str:
    """A command as it is shown, with less to train."""
    words = shlex.split(command)
    less = LESS.get(words[1], []) if words[0] == "weightsearch" else []
    if words[1] == "compare":
        command = re.sub(r"--seeds \d+", "--seeds 1", command)
        command += "" if "--baseline" in command else " --baseline published"
    return command + "".join(f" --set {shlex.quote(one)}" for one in less)


@pytest.mark.slow
@pytest.mark.independent
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "page", [page for page, found in SHOWN.items() if any(one.language in ("console", "python") for one in found)]
)
def test_every_page_runs_from_its_first_line_to_its_last(page, tmp_path):
    own_data(tmp_path)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
    }
    if page in ("docs/how-to/read-a-report.md", "docs/how-to/dashboard.md"):  # pages about a study that ran
        ran = "weightsearch init dualhead && weightsearch run dualhead.yaml --set search.trials=3 --set train.epochs=1"
        assert shell(ran, tmp_path, environment) == ""
    if page == "docs/how-to/evaluate.md":  # depth maps that another program saved
        counts = outline(load_base(shipped()["dualhead"], [SIZE])).counts
        np.save(tmp_path / "predictions.npy", np.full((counts["validation"], 64, 64), 2.0, np.float32))
    python: list[str] = []
    for block in SHOWN[page]:
        if block.file:
            (tmp_path / block.file).write_text(block.text)
    for block in SHOWN[page]:
        if block.language == "console":
            for line in block.text.splitlines():
                if not line.removeprefix("$ ").startswith(SKIPPED):
                    assert shell(small(line.removeprefix("$ "), page), tmp_path, environment) == ""
        elif block.language == "python" and not block.file:
            python.append(block.text.replace(".show()", ".to_json()"))
    if python:
        (tmp_path / "shown.py").write_text(
            "if __name__ == '__main__':\n"
            + "".join(f"    {line}" for line in "\n".join(python).splitlines(keepends=True))
        )
        assert shell(f"{shlex.quote(sys.executable)} shown.py", tmp_path, environment) == ""


def shell(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command; returns what went wrong, empty if nothing did."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    return "" if done.returncode == 0 else f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def test_the_site_has_a_page_for_everything(tmp_path):
    """The reference names every loss term, metric, command and option."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import generate
    finally:
        sys.path.pop(0)
    generate.write_all(tmp_path)
    text = {path.stem: path.read_text() for path in tmp_path.iterdir()}
    from weightsearch.metrics.registry import METRICS
    from weightsearch.plugins import names

    assert all(f"## `{name}`" in text["loss-terms"] for name in names("loss"))
    assert all(f"| `{name}` |" in text["metrics"] for name in METRICS)
    assert all(
        f"## `weightsearch {name}" in text["commands"]
        for name in ("init", "run", "compare", "data check", "analyse claims")
    )
    tables = [
        line for name, page in text.items() if name != "python" for line in page.splitlines() if line.startswith("| `")
    ]
    assert len(tables) > 250
    assert [line for line in tables if line.rstrip().endswith("|  |")] == []  # nothing is without a meaning


def test_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text().split()) <= 1200
    pictures = list((ROOT / "docs" / "pictures").glob("*"))
    assert sum(path.stat().st_size for path in pictures) <= 600_000
    for page in PAGES:
        for target in re.findall(r"!?\[[^\]]*\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
