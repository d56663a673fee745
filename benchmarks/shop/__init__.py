"""The schema that is measured: a shop."""
