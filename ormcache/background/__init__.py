"""What a process does for its databases beside running their queries, in one thread."""
