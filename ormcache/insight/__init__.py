"""What can be said of the cache by its figures: computed here, as data; shown by commands, pages and integrations."""
