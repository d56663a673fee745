"""memcached: the store and its connections."""
