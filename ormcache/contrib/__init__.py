"""Doors to other people's tools; each needs the tool that it is named after."""
