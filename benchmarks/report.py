"""Shows the results of a run, again if need be.

python -m benchmarks.report results.json          on the terminal, and charts beside the file
python -m benchmarks.report results.json --docs   and into docs/benchmarks.md, between its two markers
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.tables import Table, all_tables, faults, notes

__all__ = ["faults", "fill", "main", "markdown", "render"]

DOCS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by `python -m benchmarks.report` -->", "<!-- end of figures -->"


def markdown(results: dict[str, Any], charts: list[Path], folder: str) -> str:
    """All tables and charts, the latter as images in ``folder``."""
    parts = [_circumstances(results)]
    parts += [f"- {note}" for note in notes(results)]
    parts += [f"![{chart.stem.replace('-', ' ')}]({folder}/{chart.name})" for chart in charts]
    parts += [_markdown_table(table) for table in all_tables(results)]
    return "\n\n".join(parts)


def _circumstances(results: dict[str, Any]) -> str:
    machine, options = results["machine"], results["options"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    load = ", ".join(f"{one:.2f}" for one in results["load"])
    return (
        f"{results['date'][:10]}, size `{options['size']}`, {options['rounds']} rounds, {machine['cpu']},"
        f" {machine['cores']} cores, {machine['system']}; load when it began: {load}.\n\n{versions}."
    )


def _markdown_table(table: Table) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    bold = [[_bold(cell) for cell in row] for row in table.rows]
    rows = [line(table.columns), line(["---"] * len(table.columns)), *map(line, bold)]
    return f"### {table.title}\n\n{table.caption}\n\n" + "\n".join(rows)


def _bold(cell: str) -> str:
    for word in ("STALE", "WRONG", "failed"):
        cell = cell.replace(word, f"**{word}**")
    return cell


def fill(page: str, figures: str) -> str:
    """The page with these figures between its markers. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks its markers {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n\n{figures}\n\n{end}{after}"


def render(results: dict[str, Any], out: Path) -> list[Path]:
    """On the terminal, and the charts into the folder."""
    from benchmarks import charts, terminal

    terminal.show(results)
    return charts.draw(results, out)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--docs", action="store_true", help="fill docs/benchmarks.md, and docs/benchmarks/ beside it")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text(encoding="utf-8"))
    charts = render(results, options.results.parent)
    if options.docs:
        folder = DOCS.with_suffix("")
        folder.mkdir(exist_ok=True)
        for file in [options.results, *charts]:
            shutil.copy(file, folder / file.name)
        DOCS.write_text(
            fill(DOCS.read_text(encoding="utf-8"), markdown(results, charts, folder.name)), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
