"""Statistics of a whole deployment, collected from the store and ranked."""
