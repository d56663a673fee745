"""What ormcache knows of one connection: which database it leads to, what it has set, what its transaction has done.

``state`` is where to begin: a :class:`~ormcache.session.state.ConnectionState` holds all that is known of one Django
connection.

* The session: ``tracker`` has the class ``Session``, which follows what statements set; ``values`` reads the values
  from statements and their parameters, ``session_reader`` asks the server for what it was not shown,
  ``temporary_tables`` follows temporary tables, and ``last_hit`` what a statement leaves behind for the next one.
* The transaction: ``transaction``.
* The database behind a connection: ``identification`` finds it, ``confirmation`` asks now and then whether it still is
  the same one, ``addresses`` remembers for all connections of an address when that was asked last, ``registry``
  remembers databases for connections that are not open yet, ``connection_settings`` holds what leads there,
  ``reconnection`` notices drivers that reconnect, and ``primary`` asks behind another alias.
* What decides results outside of the server: ``converters`` of the driver, ``interception`` and ``code_watch`` for code
  that takes part in reads, ``tenants`` for backends that switch schemas. ``entry_prefix`` puts all that is the same for
  every entry of a session into one digest.
* ``observer`` passes on what happens to statistics and signals; ``connections`` lists this thread's connections.
"""
