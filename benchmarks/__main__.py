"""The benchmark suite.

    make bench                       everything, the servers included; about an hour on a quiet machine
    make bench ARGS=--quick          about three minutes
    python -m benchmarks --list      candidates and workloads
    python -m benchmarks --candidates plain ormcache --workloads get miss save --rounds 5

Ends with 1 if a candidate of ormcache gave a wrong answer or did not work, with 0 otherwise, whatever the others did.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.candidates import CANDIDATES
from benchmarks.candidates import select as select_candidates
from benchmarks.sizes import SIZES
from benchmarks.workloads import EXPERIMENTS, WORKLOADS
from benchmarks.workloads import select as select_workloads


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", dest="size", action="store_const", const="quick", default="full", help="the same as --size quick"
    )
    parser.add_argument("--size", choices=list(SIZES), default="full", help="tiny only shows that everything works")
    parser.add_argument("--candidates", nargs="+", default=[], metavar="PATTERN", help="besides plain; default: all")
    parser.add_argument("--workloads", nargs="+", default=[], metavar="PATTERN", help="default: all")
    parser.add_argument("--rounds", type=int, help="of each workload; default: what the size says")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder for results and charts")
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least 1")
    try:
        options.candidates = select_candidates(options.candidates)
        options.workloads, options.experiments = select_workloads(options.workloads)
        # Always: a figure beside which it does not say that the answers are stale would be worth nothing.
        options.experiments = list(dict.fromkeys(["freshness", *options.experiments]))
    except LookupError as error:
        parser.error(str(error.args[0]))
    return options


def show_list() -> None:
    for candidate in CANDIDATES:
        missing = candidate.missing()
        print(f"{candidate.name:20} {candidate.title}" + (f"   NOT INSTALLED: {', '.join(missing)}" * bool(missing)))
    print()
    for workload in WORKLOADS:
        print(f"{workload.name:20} {workload.title}")
    for name, title in EXPERIMENTS.items():
        print(f"{name:20} {title}")


def main() -> int:
    options = parse()
    if options.list:
        show_list()
        return 0
    # Not at the top: what is listed does not need the servers' libraries.
    from benchmarks import report, run, terminal
    from benchmarks.servers import Bench
    from benchmarks.suite import Suite

    began = time.monotonic()
    with Bench() as bench, terminal.progress() as say:
        suite = Suite(bench, options.candidates, SIZES[options.size], say, options.rounds)
        try:
            suite.set_up()
            told = {"size": options.size, "rounds": suite.rounds}
            results = run.circumstances(bench, options.candidates, told)
            results |= run.everything(suite, options.workloads, options.experiments)
            results |= {"absent": suite.absent, "load afterwards": os.getloadavg()}
        finally:
            suite.close()
    results["seconds"] = round(time.monotonic() - began)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    report.render(results, options.out)
    print(f"{path}: python -m benchmarks.report {path} shows it again")
    return 1 if report.faults(results) else 0


if __name__ == "__main__":
    sys.exit(main())
