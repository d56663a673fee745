"""Charts as SVG, with matplotlib. Transparent, in colours that can be read on white and on black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.candidates import REFERENCE
from benchmarks.figures import summary
from benchmarks.tables import candidates, is_marked, mark, rate_ratios, throughput
from benchmarks.workloads import GROUPS

INK = "#808080"  # text and axes: the same distance from white and from black
#: By position, so that a candidate has one colour in all charts of a run
COLOURS = ("#808080", "#c08a00", "#b8578f", "#7d68c9", "#1f94a8", "#d1603d", "#4d9a4a", "#5f86c4", "#a3743c")

STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ormcache",  # the same results are the same file
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "legend.frameon": False,
}


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """All charts that the results are enough for; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        made = [_ratios(results, group, title, folder) for group, title in GROUPS.items()]
        experiments = results["experiments"]
        made.append(_mixed(results, experiments.get("mixed"), folder))
        made.append(_lobsters(results, experiments.get("lobsters"), folder))
        for name, step, label in (
            ("growth-tables", "hit", "tables of the query"),
            ("growth-entries", "hit", "entries in the store"),
            ("growth-schema", "first", "tables in the database"),
        ):
            made.append(_growth(results, name, step, label, experiments.get(name), folder))
    return [path for path in made if path is not None]


def _colours(results: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: COLOURS[number % len(COLOURS)] for number, one in enumerate(results["candidates"])}


def _ratios(results: dict[str, Any], group: str, title: str, folder: Path) -> Path | None:
    """Horizontal bars on a logarithmic scale: half as long and twice as long are the same distance from plain."""
    workloads = [one for one in results["workloads"] if one["group"] == group and one["results"].get(REFERENCE)]
    others = [one for one in candidates(results) if one["name"] != REFERENCE]
    if not workloads or not others:
        return None
    colours = _colours(results)
    thick = 0.8 / len(others)
    figure, axes = plt.subplots(figsize=(8, 0.9 + len(workloads) * (0.25 + 0.17 * len(others))))
    for number, candidate in enumerate(others):
        name = candidate["name"]
        for place, workload in enumerate(workloads):
            rounds = workload["results"].get(name, {}).get("rounds")
            spread = summary(rounds, workload["results"][REFERENCE]["rounds"])["ratio"] if rounds else None
            if spread is None:
                continue
            at = place + (number - (len(others) - 1) / 2) * thick
            marked = mark(results, workload, name)
            axes.barh(
                at,
                spread.median - 1,
                left=1,
                height=thick * 0.9,
                color=colours[name],
                alpha=0.35 if marked else 1,
                hatch="///" if marked else None,
                xerr=[[spread.median - spread.low], [spread.high - spread.median]],
                error_kw={"ecolor": INK, "elinewidth": 0.8},
            )
            if marked:
                axes.annotate(
                    marked.lower(), (max(spread.high, 1), at), (4, 0), textcoords="offset points", va="center", size=7
                )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_yticks(range(len(workloads)), [one["title"] for one in workloads])
    axes.invert_yaxis()
    axes.set_xlabel("wall time as a ratio to plain Django; left of 1 is faster")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours[one["name"]]) for one in others]
    figure.legend(
        handles, [one["title"] for one in others], loc="outside lower center", ncols=min(3, len(others)), fontsize=8
    )
    axes.set_title(title, loc="left")
    return _save(figure, folder / f"ratios-{group}.svg")


def _mixed(results: dict[str, Any], loads: list[dict[str, Any]] | None, folder: Path) -> Path | None:
    """Throughput over the part of writes, a panel for each number of processes."""
    if not loads:
        return None
    panels = sorted({load["processes"] for load in loads})
    figure, all_axes = plt.subplots(1, len(panels), figsize=(1.5 + 3 * len(panels), 4), sharey=True, squeeze=False)
    for axes, processes in zip(all_axes[0], panels, strict=True):
        here = [load for load in loads if load["processes"] == processes]
        points = {
            one["name"]: [
                (100 * load["writes"], throughput(load["results"][one["name"]]["rounds"]))
                for load in here
                if load["results"].get(one["name"], {}).get("rounds")
            ]
            for one in candidates(results)
        }
        _lines(results, axes, points)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.set_xticks([100 * load["writes"] for load in here])
        axes.minorticks_off()
        axes.set_xlabel("writes")
        axes.set_title(f"{processes} process{'es' if processes > 1 else ''}", loc="left")
    all_axes[0][0].set_ylim(bottom=0)  # of all panels, now that all have their lines
    all_axes[0][0].set_ylabel("operations a second")
    _legend(figure, all_axes[0][0])
    return _save(figure, folder / "mixed.svg")


def _lobsters(results: dict[str, Any], found: dict[str, Any] | None, folder: Path) -> Path | None:
    """Throughput as a ratio to plain Django's, a bar for each candidate."""
    measured = found["results"] if found else {}
    plain = measured.get(REFERENCE, {}).get("rounds")
    others = [one for one in candidates(results) if one["name"] != REFERENCE and measured.get(one["name"])]
    spreads = {one["name"]: rate_ratios(measured[one["name"]]["rounds"], plain or []) for one in others}
    others = [one for one in others if spreads[one["name"]]]
    if not others:
        return None
    colours = _colours(results)
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.35 * len(others)))
    for place, candidate in enumerate(others):
        name = candidate["name"]
        spread = spreads[name]
        marked = is_marked(measured[name])
        axes.barh(
            place,
            spread.median,
            height=0.7,
            color=colours[name],
            alpha=0.35 if marked else 1,
            hatch="///" if marked else None,
            xerr=[[spread.median - spread.low], [spread.high - spread.median]],
            error_kw={"ecolor": INK, "elinewidth": 0.8},
        )
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_yticks(range(len(others)), [one["title"] for one in others])
    axes.invert_yaxis()
    axes.set_xlabel("requests a second as a ratio to plain Django; above 1 is faster, hatched: pages were wrong")
    axes.set_title("The request mix of lobste.rs", loc="left")
    return _save(figure, folder / "lobsters.svg")


def _growth(
    results: dict[str, Any], name: str, step: str, label: str, points: list[dict[str, Any]] | None, folder: Path
) -> Path | None:
    if not points:
        return None
    figure, axes = plt.subplots(figsize=(6, 4))
    lines = {
        one["name"]: [
            (point["at"], summary(_as_wall(rounds, step), [])["wall"].median * 1e3)
            for point in points
            if (rounds := point["results"].get(one["name"], {}).get("rounds"))
        ]
        for one in candidates(results)
    }
    _lines(results, axes, lines)
    if name != "growth-tables":
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks([point["at"] for point in points], [f"{point['at']:,}" for point in points])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel(label)
    axes.set_ylabel({"hit": "time of a hit, ms", "first": "first query of a process, ms"}[step])
    _legend(figure, axes)
    return _save(figure, folder / f"{name}.svg")


def _as_wall(rounds: list[dict[str, float]], step: str) -> list[dict[str, float]]:
    return [{"wall": one[step], "calls": one["calls"]} for one in rounds]


def _lines(results: dict[str, Any], axes: Axes, points: dict[str, list[tuple[float, float]]]) -> None:
    colours = _colours(results)
    titles = {one["name"]: one["title"] for one in results["candidates"]}
    for name, line in points.items():
        if line:
            axes.plot(
                [x for x, _ in line],
                [y for _, y in line],
                color=colours[name],
                label=titles[name],
                marker="o",
                markersize=3.5,
                linestyle="--" if name == REFERENCE else "-",
            )


def _legend(figure: Any, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)


def _save(figure: Any, path: Path) -> Path:
    figure.set_layout_engine("constrained")
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)
    return path
