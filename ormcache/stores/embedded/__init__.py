"""The embedded store: memory-mapped files that the processes of one host share."""
