"""Run Django's own test suite on ormcache, and tell what differs from the same tests on Django's own backend.

``python -m tests.django_suite [--engine sqlite|postgresql|mysql] [--modes stock,off,shadow,serve,record] [label ...]``

The tests come from the sdist of the Django that is installed (``--sources`` for one that is unpacked already). Takes
five to fifteen minutes for each mode, so it is no part of ``make test``. Modes:

| mode | backend | expected |
| --- | --- | --- |
| ``stock`` | Django's own | the measure of the others |
| ``off`` | ormcache, ``ENABLED`` False | what stock does |
| ``shadow`` | ormcache, each hit held against the database, see :mod:`tests.shadow` | what stock does, no stale read |
| ``serve`` | ormcache, hits are served and logged as queries | what stock does |
| ``record`` | ormcache, without hits; notes every statement for :mod:`tests.oracle` | what stock does |

``--commit`` lets every TestCase commit what it does, where Django would wrap it in a transaction that is rolled back:
tables that the open transaction has written are not read from the cache, and hardly anything is left to see.
Labels are those of Django's ``runtests.py``; without any, the apps in ``APPS`` run. Exit status 1: something differs.

Without ``--commit`` the shadow sees little: with all settling of DELETEs switched off, three apps pass without a
difference, and show ninety stale reads with it. What fails on ``stock`` already is mostly due to ``--commit``: the
number of queries, primary keys, and what a test leaves behind.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

import django

from tests.servers import Servers

ROOT = Path(__file__).resolve().parents[2]
#: Mode → the package of its engines
PACKAGES = {
    "stock": "django.db.backends",
    "off": "ormcache.backends",
    "shadow": "tests.shadow",
    "serve": "tests.shadow",
    "record": "tests.oracle",
}
#: Those that are compared with stock
COMPARED = ["stock", "off", "shadow", "serve"]
VENDORS = {"sqlite": "sqlite3", "postgresql": "postgresql", "mysql": "mysql"}

#: The tests of the ORM, of transactions, migrations and of the database backends
APPS = """
    aggregation aggregation_regress annotations async backends basic bulk_create cache.tests.DBCacheTests
    composite_pk constraints contenttypes_tests custom_columns custom_lookups custom_pk dates datetimes
    db_functions db_utils defer defer_regress delete delete_regress distinct_on_fields expressions
    expressions_case expressions_window filtered_relation fixtures fixtures_regress force_insert_update
    foreign_object from_db_value generic_relations generic_relations_regress get_or_create inspectdb
    introspection lookup m2m_recursive m2m_regress m2m_signals m2m_through many_to_many many_to_one
    many_to_one_null migrate_signals migration_test_data_persistence migrations model_fields model_inheritance
    model_inheritance_regress multiple_database null_fk null_fk_ordering null_queries one_to_one or_lookups
    ordering postgres_tests prefetch_related proxy_models queries queryset_pickle raw_query reserved_names
    schema select_for_update select_related select_related_regress servers sessions_tests swappable_models
    test_utils timezones transaction_hooks transactions unmanaged_models update update_only_fields xor_lookups
""".split()

#: Tests of what stands on the ORM: with ``--more``
MORE = """
    admin_changelist admin_filters admin_inlines admin_utils admin_views auth_tests base custom_managers
    custom_methods datatypes db_typecasts empty empty_models extra_regress field_defaults field_subclassing
    fixtures_model_package flatpages_tests generic_inline_admin generic_views get_earliest_or_latest
    get_object_or_404 indexes known_related_objects m2m_and_m2o m2m_intermediary m2m_multiple
    m2m_through_regress m2o_recursive managers_regress max_lengths migrations2 model_enums model_forms
    model_formsets model_formsets_regress model_indexes model_meta model_options model_package model_regress
    model_utils modeladmin mutually_referential nested_foreign_keys order_with_respect_to pagination properties
    proxy_model_inheritance redirects_tests reverse_lookup save_delete_hooks select_related_onetoone serializers
    signals sites_framework sites_tests str string_lookup syndication_tests test_client test_client_regress
    validation view_tests
""".split()


def sources(folder: Path) -> Path:
    """The unpacked sdist of the installed Django."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
        + ["--dest", str(folder), f"django=={django.__version__}"],
        check=True,
    )
    with tarfile.open(next(folder.glob("[dD]jango-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.glob("[dD]jango-*") if path.is_dir())


def databases(options: argparse.Namespace, mode: str, folder: Path, server: Any) -> dict[str, Any]:
    found = {}
    for alias in ("default", "other"):
        settings: dict[str, Any] = {"ENGINE": f"{PACKAGES[mode]}.{VENDORS[options.engine]}"}
        if server is not None:
            address = urllib.parse.urlsplit(server.url)
            settings |= {"HOST": server.host, "PORT": server.port, "USER": address.username or ""}
            settings |= {"PASSWORD": urllib.parse.unquote(address.password or "")}
            settings |= {"NAME": f"suite_{folder.name}_{alias}".lower().replace("-", "_")}
        elif options.file:
            settings["TEST"] = {"NAME": str(folder / f"{alias}.sqlite3")}
        if mode != "stock":
            settings["ORMCACHE"] = {"LOCATION": str(folder / "store"), "ENABLED": mode != "off"}
        found[alias] = settings
    return found


def run(options: argparse.Namespace, mode: str, folder: Path, server: Any, labels: list[str]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    report, result = folder / "stale.jsonl", folder / "result.json"
    report.unlink(missing_ok=True)
    result.unlink(missing_ok=True)
    (folder / "recording.jsonl").unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "ORMCACHE_SUITE_DATABASES": json.dumps(databases(options, mode, folder, server)),
        "ORMCACHE_SUITE_RESULT": str(result),
        "ORMCACHE_SUITE_COMMITS": "1" if options.commit else "",
        "ORMCACHE_SHADOW_REPORT": str(report),
        "ORMCACHE_SHADOW_SERVE": "1" if mode == "serve" else "",
        "ORMCACHE_ORACLE_RECORDING": str(folder / "recording.jsonl"),
    }
    command = [sys.executable, "runtests.py", "--settings=tests.django_suite.settings", "--noinput", "-v2"]
    command += [f"--parallel={options.parallel}", *labels]
    started = time.monotonic()
    with (folder / "log").open("w") as log:
        try:
            subprocess.run(
                command,
                check=False,  # some tests fail on Django's own backend too
                cwd=options.sources / "tests",
                env=environment,
                stdout=log,
                stderr=log,
                timeout=options.timeout,
            )
        except subprocess.TimeoutExpired:
            print(f"{mode}: not done after {options.timeout} s, see {folder / 'log'}", flush=True)
    told = json.loads(result.read_text()) if result.exists() else {"run": 0, "skipped": 0, "bad": {}, "counts": {}}
    told["seconds"] = round(time.monotonic() - started)
    told["report"] = str(report)
    told["stale"] = len(report.read_text().splitlines()) if report.exists() else 0
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="*")
    parser.add_argument("--engine", choices=VENDORS, default="sqlite")
    parser.add_argument("--file", action="store_true", help="SQLite: databases in files, not in memory")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=COMPARED)
    parser.add_argument("--more", action="store_true", help="also the tests of what stands on the ORM")
    parser.add_argument("--commit", action="store_true", help="let every TestCase commit")
    parser.add_argument("--sources", type=Path, help="the unpacked sdist of the installed Django")
    parser.add_argument("--folder", type=Path, help="for logs and results, kept; a stock result in it is used again")
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for each mode")
    options = parser.parse_args()

    folder = options.folder or Path(tempfile.mkdtemp(prefix="django-suite-"))
    folder.mkdir(parents=True, exist_ok=True)
    options.sources = (options.sources or sources(folder)).resolve()
    there = {path.name for path in (options.sources / "tests").iterdir()}
    default = [label for label in APPS + (MORE if options.more else []) if label.partition(".")[0] in there]
    labels = options.labels or default
    server = None
    if options.engine != "sqlite":
        servers = Servers(Path(tempfile.mkdtemp(prefix="ormcache-tests-")))
        server = servers.shared(options.engine)[0]

    measure: dict[str, Any] = {}
    different = False
    print(f"Django {django.__version__}, {options.engine}, {len(labels)} labels; logs in {folder}", flush=True)
    for mode in options.modes:
        kept = folder / mode / "result.json"
        if mode == "stock" and kept.exists():
            told = json.loads(kept.read_text())
        else:
            told = run(options, mode, folder / mode, server, labels)
        bad = told["bad"]
        print(summary(mode, told), flush=True)
        if mode == "stock":
            measure = bad
        else:
            for test in sorted(bad.keys() - measure.keys()):
                print(f"   only with {mode}: {test}: {bad[test].strip().splitlines()[-1]}", flush=True)
            for test in sorted(measure.keys() - bad.keys()):
                print(f"   only with stock: {test}: {measure[test].strip().splitlines()[-1]}", flush=True)
            if told["stale"]:
                print(f"   stale reads: see {told['report']}", flush=True)
            different = different or bad.keys() != measure.keys() or bool(told["stale"]) or not told["run"]
    return 1 if different else 0


def summary(mode: str, told: dict[str, Any]) -> str:
    hits = sum(counts["hits"] for counts in told["counts"].values())
    misses = sum(counts["misses"] for counts in told["counts"].values())
    return (
        f"{mode:7} {told['run']} tests, {told['skipped']} skipped, {len(told['bad'])} failed; "
        f"{hits} hits, {misses} misses, {told.get('stale', 0)} stale; {told.get('seconds', '?')} s"
    )


if __name__ == "__main__":
    sys.exit(main())
