"""What is going on in the cache, computed for people: commands, pages and panels show it."""
