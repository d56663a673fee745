"""The metrics that monitoring systems read, and their values."""
