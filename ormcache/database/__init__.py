"""One database as a process knows it: identity, catalog, plans.

``database`` is where to begin: all connections to one database share a :class:`~ormcache.database.database.Database`.

* ``catalog_cache`` reads the catalog, in the parts of ``catalog_parts``, and knows whether a part is still right.
* ``plans`` makes the plan of a statement, and ``plan_cache`` remembers it. ``table_filter`` applies the settings that
  name tables, and ``current_time`` finds statements that are given the current time as a parameter.
* ``slots`` names the slots of relations, and ``seen_stamps`` remembers which stamps were seen in them, for transactions
  that keep a snapshot.
"""
