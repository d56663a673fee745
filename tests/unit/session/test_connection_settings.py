"""What leads to a database, and whether it still does."""

from __future__ import annotations

from typing import Any

import pytest

from ormcache.session.connection_settings import ConnectionSettings


class Connection:
    alias = "default"

    def __init__(self, vendor: str = "postgresql", **settings: Any) -> None:
        self.vendor = vendor
        self.settings_dict = {"NAME": "one", "HOST": "", "OPTIONS": {"nested": {"list": [1]}}, **settings}
        self._connection_pools: dict[str, object] = {}


def changed(connection: Connection, change: Any) -> bool:
    settings = ConnectionSettings(connection)
    assert settings.is_current(connection.settings_dict)
    assert ConnectionSettings(connection).key == settings.key
    change()
    assert settings.is_current(connection.settings_dict) == (ConnectionSettings(connection).key == settings.key)
    return not settings.is_current(connection.settings_dict)


def test_whatever_is_changed_in_place():
    connection = Connection()
    given = connection.settings_dict
    assert changed(connection, lambda: given.update(NAME="two"))
    assert changed(connection, lambda: given["OPTIONS"].update(service="other"))
    assert changed(connection, lambda: given["OPTIONS"]["nested"]["list"].append(2))
    assert changed(connection, lambda: given.update(TIME_ZONE="Asia/Tokyo"))
    assert changed(connection, lambda: given["OPTIONS"].pop("service"))
    assert not changed(connection, lambda: given.update(NAME="two"))


def test_settings_that_cannot_be_hashed():
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]  # as of any class that defines __eq__

        def __eq__(self, other: object) -> bool:
            return self is other

    connection = Connection(OPTIONS={"context": Unhashable()})
    assert not changed(connection, lambda: None)
    assert changed(connection, lambda: connection.settings_dict["OPTIONS"].update(context=Unhashable()))


def test_another_pool():
    connection = Connection()
    assert changed(connection, lambda: connection._connection_pools.update(default=object()))
    assert changed(connection, lambda: connection._connection_pools.update(default=object()))


@pytest.mark.parametrize(
    "settings, variable, counts",
    [
        ({}, "PGHOST", True),
        ({"HOST": "localhost"}, "PGHOST", False),
        ({"HOST": "localhost"}, "PGHOSTADDR", True),
        ({}, "PGOPTIONS", True),
        ({"OPTIONS": {"options": "-c x=1"}}, "PGOPTIONS", False),
        ({}, "PGSERVICEFILE", False),
        ({"OPTIONS": {"service": "s"}}, "PGSERVICEFILE", True),
        ({}, "HOME", False),
    ],
)
def test_variables_where_the_settings_leave_it_open(monkeypatch, settings, variable, counts):
    monkeypatch.delenv(variable, raising=False)
    connection = Connection(**settings)
    assert changed(connection, lambda: monkeypatch.setenv(variable, "1")) is counts
    assert not changed(Connection("sqlite", **settings), lambda: monkeypatch.setenv(variable, "2"))


def test_another_environment(monkeypatch):
    monkeypatch.setenv("PGHOST", "one")
    assert changed(Connection(), lambda: monkeypatch.setattr("os.environ", {"PGHOST": "two"}))
