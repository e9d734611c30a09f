"""Check what a wheel holds: `python tests/check_wheel.py FILE.whl`. Called by .ci/run."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]


def expected() -> set[str]:
    """Every module of the package, those behind its two links included."""
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "weightsearch").rglob("*.py")}
    for link in ("models", "dashboards"):
        files |= {f"weightsearch/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / link).rglob("*.py")}
    return files | {"weightsearch/py.typed"}


def main() -> None:
    (wheel,) = sys.argv[1:]
    names = zipfile.ZipFile(wheel).namelist()
    tops = {PurePosixPath(name).parts[0] for name in names}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    if packages != {"weightsearch"}:
        sys.exit(f"{wheel}: top-level names {sorted(packages)}, expected weightsearch alone")
    found = {name for name in names if name.startswith("weightsearch/")}
    if found != expected():
        sys.exit(f"{wheel}: missing {sorted(expected() - found)}, unexpected {sorted(found - expected())}")
    metadata = next(name for name in names if name.endswith("entry_points.txt"))
    if "weightsearch = weightsearch.cli:main" not in zipfile.ZipFile(wheel).read(metadata).decode():
        sys.exit(f"{wheel}: no command weightsearch")
    print(f"{wheel}: {len(found)} files under weightsearch, and nothing else")


if __name__ == "__main__":
    main()
