"""A purger of the tests' own: takes notes."""

from __future__ import annotations

from collections.abc import Sequence

from ormcache.purge_settings import PurgerSettings

#: The tags of each purge
purged: list[set[str]] = []


class Recording:
    header, separator = "CDN-Tag", ","

    def __init__(self, settings: PurgerSettings) -> None:
        """Take the settings, and need none of them."""

    def purge(self, tags: Sequence[str]) -> None:
        purged.append(set(tags))


class InFile:
    """Takes its notes in a file, which outlives the process: a line of tags for each purge."""

    header, separator = "CDN-Tag", ","

    def __init__(self, settings: PurgerSettings) -> None:
        self._path = str(dict(settings.options)["path"])

    def purge(self, tags: Sequence[str]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            print(*tags, file=file)
