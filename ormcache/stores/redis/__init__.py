"""Redis, Valkey and their like: the store, its connections, and the level ``near``."""
