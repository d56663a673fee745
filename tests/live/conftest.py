import pytest


@pytest.fixture(autouse=True)
def _live(database: None) -> None:
    """Every test here talks to the database that ``--engine`` names, and commits for real."""
