"""State of a block of code or of a request.

``switch`` turns the cache on or off in a block; ``request_scope`` is the memory of one request or task.
"""
