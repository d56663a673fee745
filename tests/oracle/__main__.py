"""Hold ormcache against what the databases said of the statements of Django's own test suite.

``python -m tests.oracle``                      the recordings that are kept beside the tests
``python -m tests.oracle FILE ...``             recordings of ``python -m tests.django_suite --modes record``, in full
``python -m tests.oracle --keep VERSION FILE``  distils one, to be kept beside the tests

Exit status 1: a relation was missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ormcache.sql.lexer import VENDORS
from tests.oracle import check, recordings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--keep", metavar="VERSION", help="the version of Django that the recording is of")
    options = parser.parse_args()
    reports = []
    for path in options.files:
        recorded = recordings.from_notes(recordings.notes(path))
        reports.append((f"{path}, texts", check.texts(recorded)))
        reports.append((f"{path}, plans", check.plans(recordings.notes(path))))
        if options.keep:
            keep(recorded, options.keep)
    if not options.files:
        reports = [(f"{vendor}, texts", check.texts(recordings.kept(vendor))) for vendor in VENDORS]
    for title, report in reports:
        print(f"{title}: {report}")
    return 1 if any(report.misses for _, report in reports) else 0


def keep(recorded: list[recordings.Recorded], version: str) -> None:
    vendor = recorded[0].vendor
    path = recordings.FOLDER / f"{vendor}-{version}.xz"
    earlier = [
        one for other in sorted(path.parent.glob(f"{vendor}-*.xz")) if other < path for one in recordings.read(other)
    ]
    distilled = recordings.distilled(recorded, earlier)
    recordings.write(path, distilled)
    print(f"{path}: {len(distilled)} of {len(recorded)} texts, {path.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
