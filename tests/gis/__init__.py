"""GeoDjango's databases for tests: PostGIS and SpatiaLite."""
