"""Which settings the code of a database reads."""

from __future__ import annotations

import pytest

from ormcache import reasons
from ormcache.catalog import ANYWHERE, Catalog, Facts, postgresql
from ormcache.catalog.facts import IMMUTABLE, Code, Function, Relation
from ormcache.catalog.settings_read import _IMPLIED, ASKED, settings_read


@pytest.mark.parametrize(
    "text, names",
    [
        ("(owner = current_setting('app.user'::text, true))", {"app.user"}),
        ("SELECT pg_catalog.current_setting ( 'App.User' )", {"app.user"}),
        ("current_setting('a.b', true) || current_setting('c.d')", {"a.b", "c.d"}),
        ("current_setting(('app.'::text || owner))", {""}),
        ("current_setting('app.' || 'user')", {""}),
        (r"current_setting(E'app\\x2euser')", {""}),
        ("\"current_setting\"('a.b')", {"a.b"}),
        ("current_setting /* who */ ('a.b')", {"a.b"}),
        ("current_setting -- who\n ( -- is it\n 'a.b')", {"a.b"}),
        ("owner = CURRENT_USER", set()),
        (None, set()),
    ],
)
def test_names_in_code(text, names):
    assert settings_read([text]) == names


def test_new_sessions_are_asked_for_the_settings_that_count_as_known():
    asked = settings_read([postgresql._SERVER])
    assert asked - {"default_transaction_isolation", "standard_conforming_strings"} == ASKED - _IMPLIED


def test_what_a_catalog_reads():
    catalog = Catalog(
        "postgresql",
        Facts(
            relations=[Relation("notes", "public", "notes")],
            policies=[("notes", "owner = current_setting('app.user') AND current_setting('TimeZone') = 'UTC'")],
            functions=[Function("f", IMMUTABLE, Code("SELECT current_setting('app.tenant', true)"))],
        ),
    )
    assert catalog.custom_settings == {"app.user", "app.tenant"}


@pytest.mark.parametrize(
    "condition, bypass_reason",
    [
        ("owner = current_setting('app.user')", None),
        ("owner = current_setting('TimeZone')", None),
        ("owner = current_setting('application_name')", reasons.SESSION_FUNCTION),
        ("owner = current_setting('work_mem')", reasons.SESSION_FUNCTION),
        ("owner = current_setting('app.' || owner)", reasons.SESSION_FUNCTION),
    ],
)
def test_a_policy_that_reads_what_is_not_followed(condition, bypass_reason):
    relation = Relation("notes", "public", "notes")
    catalog = Catalog("postgresql", Facts(relations=[relation], policies=[("notes", condition)]))
    scope = catalog.resolver_for(ANYWHERE)
    assert scope.bypass_reason(frozenset({"notes"}), lambda relation: False) == bypass_reason
