"""Builds the distributions: ``python .ci/distributions.py FOLDER``.

``ormcache`` is an sdist and a wheel. ``ormcache-core`` is a second wheel of the same sdist, without the requirement of
LMDB, for platforms on which that would have to be compiled: docs/decisions/two-distributions.md says why.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]


def build(source: Path, folder: Path, *options: str) -> None:
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, *options, source], check=True)


def without_lmdb(project: str) -> str:
    """Return this ``pyproject.toml`` under the other name, without the line that requires LMDB."""
    for pattern, other in ((r'name = "ormcache"\n', 'name = "ormcache-core"\n'), (r'    "lmdb\b.*",\n', "")):
        project, replaced = re.subn(rf"^{pattern}", other, project, flags=re.MULTILINE)
        if replaced != 1:
            raise SystemExit(f"pyproject.toml has {replaced} lines like {pattern!r}, not one")
    return project


def main(folder: Path) -> None:
    build(ROOT, folder)
    (sdist,) = folder.glob("ormcache-*.tar.gz")
    with TemporaryDirectory() as unpacked:
        subprocess.run(["tar", "-xzf", sdist, "-C", unpacked], check=True)
        (source,) = Path(unpacked).iterdir()
        project = source / "pyproject.toml"
        project.write_text(without_lmdb(project.read_text(encoding="utf-8")), encoding="utf-8")
        build(source, folder, "--wheel")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
