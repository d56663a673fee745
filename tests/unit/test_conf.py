"""What of the settings decides which results may be kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.core.signals import setting_changed

from ormcache import conf


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "2"},
        {"blacklist": ("shop_order",)},
        {"only": ("shop_order",)},
        {"foreign_tables": ("remote",)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_results_of_other_settings_have_other_names(changed):
    config = conf.config_for("default", {"ORMCACHE": {}})

    assert replace(config, **changed).scope != config.scope


def test_the_order_of_a_list_means_nothing():
    config = conf.config_for("default", {"ORMCACHE": {}})

    assert replace(config, only=("a", "b")).scope == replace(config, only=("b", "a")).scope


def test_settings_that_change_while_they_are_read(monkeypatch):
    """By another thread: what it has read of the old ones does not outlive them."""
    build, given = conf._build, {"ORMCACHE": {"VERSION": "old"}}

    def overtaken(values):
        built = build(values)
        given["ORMCACHE"]["VERSION"] = "new"
        setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)
        return built

    with monkeypatch.context() as patched:
        patched.setattr(conf, "_build", overtaken)
        assert conf.config_for("overtaken", given).version == "old"

    assert conf.config_for("overtaken", given).version == "new"
    assert conf.config_for("overtaken", given) is conf.config_for("overtaken", given)
