"""The read path: what becomes of one SELECT."""
