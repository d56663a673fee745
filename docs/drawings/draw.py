"""The drawings of the documentation: ``python docs/drawings/draw.py`` writes them beside this file.

Nothing but Python's own XML, so that a test can see that what is committed is what this makes. A drawing takes its
colours from the page around it, where there is one (furo's, light or dark as the reader wishes), and from the reader's
system where it is a picture alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from rooms import LAYERS, shown, table  # noqa: E402  # beside this file, which is a script and in no package

STYLE = """
svg.drawing { --own-ink: #1f2328; --own-soft: #59636e; --own-panel: #f3f4f6; --own-line: #8b949e;
  --own-paper: #ffffff;
  font-family: var(--font-stack, system-ui, sans-serif); font-size: 13px; }
@media (prefers-color-scheme: dark) {
  svg.drawing { --own-ink: #e6edf3; --own-soft: #9198a1; --own-panel: #212830; --own-line: #6e7681;
    --own-paper: #0d1117; } }
svg.drawing text { fill: var(--color-foreground-primary, var(--own-ink)); }
svg.drawing text.soft { fill: var(--color-foreground-secondary, var(--own-soft)); }
svg.drawing text.halo { paint-order: stroke; stroke-width: 5px;
  stroke: var(--color-background-primary, var(--own-paper)); }
svg.drawing text.strong { font-weight: 600; }
svg.drawing .panel { fill: var(--color-background-secondary, var(--own-panel)); stroke: var(--own-line); }
svg.drawing .line { fill: none; stroke: var(--own-line); stroke-width: 1.4; }
svg.drawing .dashed { stroke-dasharray: 4 4; }
svg.drawing .head { fill: var(--own-line); }
svg.drawing .good { stroke: #2da44e; stroke-width: 2; }
svg.drawing .bad { stroke: #e5534b; stroke-width: 2; }
svg.drawing .event { fill: #2f81f7; }
"""

CHARACTER = 6.6  # pixels that one takes at most, on average


class Drawing:
    """An SVG of one size, in pixels. ``label`` is what a screen reader says."""

    def __init__(self, width: int, height: int, label: str) -> None:
        self.width = width
        self.height = height
        self.root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "drawing",
                "viewBox": f"0 0 {width} {height}",
                "width": str(width),
                "height": str(height),
                "role": "img",
                "aria-label": label,
            },
        )
        ET.SubElement(self.root, "style").text = STYLE

    def _add(self, tag: str, **attributes: object) -> ET.Element:
        return ET.SubElement(
            self.root, tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()}
        )

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        length = len(words) * CHARACTER
        left = {"start": x, "middle": x - length / 2, "end": x - length}[anchor]
        assert left >= 0, words
        assert left + length <= self.width, words
        self._add("text", x=x, y=y, class_=kind, text_anchor=anchor).text = words

    def box(self, x: float, y: float, width: float, lines: list[str], kind: str = "") -> float:
        """A box with lines of text, the first of them strong. Returns its height."""
        height = 14 + 18 * len(lines)
        self._add("rect", x=x, y=y, width=width, height=height, rx=6, class_=f"panel {kind}".strip())
        for number, line in enumerate(lines):
            assert len(line) * CHARACTER <= width - 8, line
            self.text(x + width / 2, y + 21 + 18 * number, line, "soft" if number else "strong", "middle")
        return height

    def line(self, *points: tuple[float, float], kind: str = "") -> None:
        self._add("polyline", points=" ".join(f"{x},{y}" for x, y in points), class_=f"line {kind}".strip())

    def arrow(self, *points: tuple[float, float], kind: str = "") -> None:
        """A line through these points, along the axes, with a head at its end."""
        (x0, y0), (x, y) = points[-2:]
        dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
        self.line(*points[:-1], (x - 6 * dx, y - 6 * dy), kind=kind)
        corners = [(x, y), (x - 8 * dx - 4 * dy, y - 8 * dy - 4 * dx), (x - 8 * dx + 4 * dy, y - 8 * dy + 4 * dx)]
        self._add("polygon", points=" ".join(f"{a},{b}" for a, b in corners), class_="head")

    def event(self, x: float, y: float) -> None:
        self._add("circle", cx=x, cy=y, r=5, class_="event")

    def svg(self) -> str:
        ET.indent(self.root)
        return ET.tostring(self.root, encoding="unicode") + "\n"


def read() -> Drawing:
    """The way of a read."""
    d = Drawing(760, 560, "The way of a read: plan, name, look up; then a hit, or the query and what is kept of it")
    left, width, right = 20, 330, 470
    steps = [
        (["a query set is evaluated", "SQLCompiler.execute_sql, with a mixin in front"], None),
        (["is it one for the cache?"], "no: streamed, locking, disabled, …"),
        (
            ["compile, and plan the text", "its tables and functions; remembered by text"],
            "a clock, an unknown function, …",
        ),
        (["name the result", "text, parameters, session, settings"], "it has not paid lately"),
        (["look up, in one round trip", "the result, and the slots of its tables"], "the store is away"),
    ]
    y = 10.0
    exits = []
    for number, (lines, leaves) in enumerate(steps):
        height = d.box(left, y, width, lines)
        if leaves:
            exits.append(y + height / 2)
            d.text(left + width + 8, y + height / 2 - 6, leaves, "soft")
        if number < len(steps) - 1:
            d.arrow((left + width / 2, y + height), (left + width / 2, y + height + 24))
        y += height + 24
    trunk = right + 170
    for at in exits[:-1]:
        d.line((left + width, at), (trunk, at))
    d.line((left + width, exits[-1]), (trunk, exits[-1]))
    d.arrow((trunk, exits[0]), (trunk, 380))
    d.box(trunk - 95, 380, 190, ["the database", "nothing is kept;", "the reason is counted"])

    fork = y - 24
    d.arrow((100, fork), (100, 400))
    d.box(20, 400, 170, ["hit", "every slot holds the", "stamp that the result", "was kept under"], "good")
    d.arrow((300, fork), (300, 400))
    d.box(
        210,
        400,
        300,
        [
            "miss: run the query",
            "(or wait for who runs it, and look up again)",
            "keep the rows under the stamps",
            "that were looked up BEFORE the query",
        ],
    )
    d.arrow((100, 486), (100, 520))
    d.arrow((360, 486), (360, 520))
    d.text(20, 540, "rows, decoded anew")
    d.text(260, 540, "a marked slot: the same, and nothing is kept", "soft")
    return d


def write() -> Drawing:
    """A write on a time line, against three readers."""
    d = Drawing(760, 470, "A write marks, commits and settles, while three readers look up, query and keep")
    begin, mark, commit, settle, end = 130, 280, 430, 580, 740
    d.text(begin, 20, "time →", "soft")
    for x, name, what in ((mark, "m", "mark"), (commit, "c", "COMMIT"), (settle, "s", "settle")):
        d.line((x, 30), (x, 440), kind="dashed")
        d.text(x, 20, f"{name}: {what}", "strong", "middle")

    d.text(10, 55, "writer", "strong")
    d.line((begin, 50), (settle, 50))
    for x in (mark, commit, settle):
        d.event(x, 50)

    for y, name, spans in (
        (80, "slot", [(begin, mark, "stamp A", ""), (mark, settle, "marked", "bad"), (settle, end, "stamp B", "good")]),
        (135, "database", [(begin, commit, "old rows", ""), (commit, end, "new rows", "good")]),
    ):
        d.text(10, y + 21, name, "strong")
        for x0, x1, words, kind in spans:
            d.box(x0 + 2, y, x1 - x0 - 4, [words], kind)

    readers = [
        (205, "slow reader", [(170, "looks up: A"), (330, "queries: old rows"), (640, "keeps them under A")],
         "A never comes back: what is kept under it is never served"),
        (285, "reader", [(330, "looks up: marked"), (480, "queries: new rows")],
         "under a mark nothing is served, and nothing is kept"),
        (365, "later reader", [(600, "looks up: B"), (690, "queries")],
         "new rows, kept under B: hits, until the next write"),
    ]  # fmt: skip
    for y, name, events, moral in readers:
        d.text(10, y + 21, name, "strong")
        d.line((events[0][0], y + 16), (events[-1][0], y + 16))
        for x, words in events:
            d.event(x, y + 16)
            d.text(x, y + 4, words, "soft halo", "middle")
        d.text(begin, y + 42, moral, "soft halo")
    return d


def rooms() -> Drawing:
    """The layers of the code."""
    d = Drawing(760, 10 + 40 * len(LAYERS), "The layers of the code; imports go down")
    for number, layer in enumerate(LAYERS):
        y = 8 + 40 * number
        d._add("rect", x=40, y=y, width=700, height=32, rx=6, class_="panel")
        d.text(56, y + 21, "   ".join(map(shown, layer.rooms)), "strong")
        d.text(352, y + 21, layer.what, "soft")
    d.arrow((20, 14), (20, d.height - 8))
    return d


#: Around the table of rooms in the page that explains them
BEGIN, END = "<!-- rooms: written by drawings/draw.py -->", "<!-- end of rooms -->"

DRAWINGS = {"read.svg": read, "write.svg": write, "rooms.svg": rooms}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (HERE / name).write_text(draw().svg(), encoding="utf-8")
    page = HERE.parent / "how-it-works.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
