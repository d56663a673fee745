"""What of the settings decides which results may be kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
