"""How much of everything a run does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    items: int  # rows of the largest table
    rounds: int
    seconds: float  # how long plain Django works in one round of one workload
    mixed_seconds: float
    mixed_rounds: int
    mixed_writes: tuple[float, ...]  # parts of all operations
    mixed_processes: tuple[int, ...]
    web_seconds: float
    web_rounds: int
    lobsters_scale: float  # 1: as much as the site had in 2018
    lobsters_requests: int  # of one process in one round
    lobsters_rounds: int
    lobsters_processes: int
    herd_readers: int
    herd_milliseconds: float  # what the slow query takes
    herd_rounds: int
    phases: tuple[int, ...]  # reads in one phase
    phase_rounds: int
    memory_entries: int
    startup_rounds: int
    tables: tuple[int, ...]  # of one query
    entries: tuple[int, ...]
    relations: tuple[int, ...]  # of the database


SIZES = {
    "full": Size(
        items=200_000,
        rounds=15,
        seconds=0.2,
        mixed_seconds=3,
        mixed_rounds=2,
        mixed_writes=(0.001, 0.01, 0.1, 0.5),
        mixed_processes=(1, 2, 4),
        web_seconds=5,
        web_rounds=3,
        lobsters_scale=1,
        lobsters_requests=1000,
        lobsters_rounds=3,
        lobsters_processes=2,
        herd_readers=50,
        herd_milliseconds=200,
        herd_rounds=3,
        phases=(200, 2_000),
        phase_rounds=5,
        memory_entries=10_000,
        startup_rounds=7,
        tables=(1, 2, 5, 10, 20, 30),
        entries=(1_000, 10_000, 100_000),
        relations=(100, 1_000, 5_000),
    ),
    "quick": Size(
        items=20_000,
        rounds=3,
        seconds=0.03,
        mixed_seconds=0.4,
        mixed_rounds=1,
        mixed_writes=(0.01, 0.1),
        mixed_processes=(1, 2),
        web_seconds=0.7,
        web_rounds=1,
        lobsters_scale=0.02,
        lobsters_requests=100,
        lobsters_rounds=1,
        lobsters_processes=2,
        herd_readers=10,
        herd_milliseconds=50,
        herd_rounds=1,
        phases=(200,),
        phase_rounds=3,
        memory_entries=500,
        startup_rounds=1,
        tables=(1, 10, 30),
        entries=(200, 2_000),
        relations=(100, 1_000),
    ),
    # Shows that everything works, and nothing else.
    "tiny": Size(
        items=4_000,
        rounds=2,
        seconds=0.005,
        mixed_seconds=0.2,
        mixed_rounds=1,
        mixed_writes=(0.1,),
        mixed_processes=(1, 2),
        web_seconds=0.3,
        web_rounds=1,
        lobsters_scale=0.005,
        lobsters_requests=30,
        lobsters_rounds=1,
        lobsters_processes=2,
        herd_readers=4,
        herd_milliseconds=20,
        herd_rounds=1,
        phases=(100,),
        phase_rounds=2,
        memory_entries=100,
        startup_rounds=1,
        tables=(1, 30),
        entries=(100, 300),
        relations=(60, 200),
    ),
}
