"""Figures: what became of reads and writes, what it took, and what it saved."""

from ormcache.figures.counting import Event, Figures, Writing, Written, all_figures, figures_of
from ormcache.figures.tally import Miss, Tally, total_of
from ormcache.figures.text import Sample, Text, has_present_moment

__all__ = [
    "Event",
    "Figures",
    "Miss",
    "Sample",
    "Tally",
    "Text",
    "Writing",
    "Written",
    "all_figures",
    "figures_of",
    "has_present_moment",
    "total_of",
]
