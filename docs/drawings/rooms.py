"""The rooms of the package, from the doors down to the helpers: what the layer test holds and the documentation shows.

One line a layer. A module imports only from rooms of layers below its own, and from modules of its own room, without
a circle. A room is a folder of ``ormcache/``, or a module that lies beside the folders; ``ormcache`` is the package
itself.
"""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    rooms: tuple[str, ...]
    what: str  # for people; short, because it stands in a drawing


LAYERS = [
    Layer(
        ("apps", "middleware", "migrations", "models", "pytest_plugin", "__main__"),
        "what settings name, and Django and pytest find",
    ),
    Layer(("backends", "contrib", "management", "templatetags"), "engines, integrations, commands, template tags"),
    Layer(("ormcache",), "the package: its public names, imported on use"),
    Layer(("api", "testing"), "what programs and their tests call"),
    Layer(("pages",), "functions, fragments and pages that are cached"),
    Layer(("diagnostics",), "what is going on, computed for people; decides nothing"),
    Layer(("checks",), "system checks: what is set wrong"),
    Layer(("outside",), "what one process does for all: leader, own connections"),
    Layer(("connection",), "the mixins around Django's backends, compilers and cursors"),
    Layer(("telemetry",), "listens: counters, their way to other processes, signals"),
    Layer(("read_path",), "what becomes of one SELECT: hit, miss or bypass"),
    Layer(("write_path",), "what one statement invalidates, and when"),
    Layer(("session",), "one connection: its settings, its transaction, its tenant"),
    Layer(("background",), "what a process does every few seconds, in one thread"),
    Layer(("database",), "one database: identity, catalog, plans, slots"),
    Layer(("cache",), "keys, serialized results, stamps, single flight"),
    Layer(("stores", "catalog", "purging"), "the only doors to a cache, to the schema, and to CDNs"),
    Layer(("context", "sql"), "blocks and requests; what a text of SQL says"),
    Layer(("conf", "signals"), "settings; what others may listen to"),
    Layer(("exceptions", "reasons", "purge_settings", "utils"), "public errors, names of bypass reasons; helpers"),
]


def shown(room: str) -> str:
    """A room as the documentation writes it: folders end in a slash."""
    return room if room in MODULES else f"{room}/"


#: Rooms that are single modules, or the package itself
MODULES = frozenset(
    {
        "__main__",
        "ormcache",
        "apps",
        "middleware",
        "models",
        "pytest_plugin",
        "api",
        "checks",
        "conf",
        "exceptions",
        "purge_settings",
        "reasons",
        "signals",
    }
)


def table() -> str:
    """The layers as a table of Markdown."""
    rows = [f"| {', '.join(f'`{shown(room)}`' for room in layer.rooms)} | {layer.what} |" for layer in LAYERS]
    return "\n".join(["| rooms | |", "| --- | --- |", *rows])
