"""What connects ormcache with other tools; each of these is switched on by itself."""
