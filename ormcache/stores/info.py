"""What a store reports about itself: for display and for health checks; the protocol does not use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server of a store, or the one place where it is. None: not reported."""

    address: str
    version: str | None = None
    used_bytes: int | None = None
    max_bytes: int | None = None  # 0: no limit
    evicted_keys: int | None = None  # for lack of room, since the server was started
    uptime: float | None = None  # seconds
    eviction_policy: str | None = None  # as the server calls it
    max_entry_bytes: int | None = None
    clock_offset: float | None = None  # seconds by which its clock is ahead of this host's
    clock_error: float = 0.0  # seconds, at most, by which ``clock_offset`` is wrong
    ends_leases: bool = False  # whether its clock says when a lease ends; otherwise that of the reader's host does
    details: Mapping[str, str | int] = field(default_factory=dict)  # what only this kind has, by the server's own names


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store and its servers."""

    kind: str
    servers: tuple[ServerInfo, ...]
