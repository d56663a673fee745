"""The statistics of a database as a page: what the admin page and the report show, and how charts are drawn."""
