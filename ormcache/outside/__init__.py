"""What one process of a deployment does for all: who does it, and over which connections to the databases."""
