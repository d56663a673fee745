"""The write path: what one statement invalidates, and when."""
