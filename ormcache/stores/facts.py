"""What a store tells of itself, for people: nothing is decided by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server of a store, or the one place that it has. None: it is not told."""

    address: str
    version: str | None = None
    used: int | None = None  # bytes
    limit: int | None = None  # bytes; 0: none
    evicted: int | None = None  # keys that had to go for lack of room, since it was started
    running: float | None = None  # seconds since it was started
    policy: str | None = None  # what goes when it is full, in its own word
    largest: int | None = None  # bytes of one result
    ahead: float | None = None  # seconds that its clock is before ours
    ahead_by: float = 0.0  # seconds, at most, by which ``ahead`` is wrong
    more: Mapping[str, str | int] = field(default_factory=dict)  # its own names → what else matters of this kind


@dataclass(frozen=True, slots=True)
class StoreFacts:
    kind: str
    servers: tuple[ServerFacts, ...]
