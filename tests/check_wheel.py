"""Check what a wheel holds: `python tests/check_wheel.py FILE.whl`. Called by .ci/run."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]


SHIPPED = {".py", ".j2", ".typed", ".yaml"}  # modules, templates of pages, the mark of a typed package, studies


def expected() -> set[str]:
    """Every module and template of the package, those behind its links included."""
    places = {"weightsearch": "", "models": "weightsearch/", "dashboards": "weightsearch/", "studies": "weightsearch/"}
    return {
        prefix + path.relative_to(ROOT).as_posix()
        for place, prefix in places.items()
        for path in (ROOT / place).rglob("*")
        if path.suffix in SHIPPED
    }


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
