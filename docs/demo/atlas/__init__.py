"""An atlas with traveller's reviews: the Django site that the demo runs with and without ormcache."""
