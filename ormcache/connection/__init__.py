"""The connection: what Django's backends, compilers and cursors are given."""
