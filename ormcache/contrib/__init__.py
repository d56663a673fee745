"""Doors to other tools. Each needs its own; nothing else of ormcache imports them."""
