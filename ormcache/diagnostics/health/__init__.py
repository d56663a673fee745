"""Whether databases, stores, clocks and settings are in order."""
