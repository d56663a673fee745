"""The core of the cache: names of entries, serialized results, stamps, single flight, results in this process.

``stamps`` is where to begin: the protocol that decides when a stored result may be served. ``invalidation_queue`` holds
the invalidations that the store did not take.

* ``keys`` makes the names of entries, from exact types and values (``value_types``).
* ``serializer`` turns results into bytes and back, as ``layout`` describes; ``packer`` writes the bytes, ``unpacker``
  reads them, and ``value_codec`` is for values that need more than a stream of one plain type.
* ``local_cache`` holds results in the memory of this process.
* ``single_flight`` lets one of many readers run a query, and ``adaptive`` gives up the cache where it saves no time.
"""
