"""A bookshop with visitors: the Django site whose pages the pictures show, and the tests of browsers open."""
