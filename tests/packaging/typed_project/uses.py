"""Every public name, with the type that a user sees."""

import datetime
from typing import Any, assert_type

from django.db import OperationalError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from shop.models import Order

import ormcache
from ormcache import reasons, signals
from ormcache.diagnostics.explain.explanation import Explanation
from ormcache.middleware import request_scope
from ormcache.telemetry.report import Report
from ormcache.testing import CacheAssertions, Recorder, assert_hits, override_cache


def ask() -> None:
    ormcache.invalidate()
    ormcache.invalidate(Order, "audit_log", using="default")
    assert_type(ormcache.last_write(Order, "shop.Order"), datetime.datetime | None)
    assert_type(ormcache.stats(), dict[str, Any])
    assert_type(ormcache.stats("default"), dict[str, Any])
    assert_type(ormcache.adaptive_bypasses(using="default"), list[dict[str, Any]])
    report = ormcache.report("default")
    assert_type(report, Report | None)
    if report is not None:
        assert_type(report.gain_seconds, float)
    explanation = ormcache.explain(Order.objects.all(), using="default")
    assert_type(explanation, Explanation)
    assert_type(explanation.cached, bool)
    assert_type(reasons.DIRTY, str)


def blocks() -> None:
    with ormcache.disabled() as nothing:
        assert_type(nothing, None)
        assert_type(Order.objects.get(pk=1), Order)
    with ormcache.as_request():
        assert_type(list(Order.objects.all()), list[Order])


@ormcache.disabled()
def count(prefix: str) -> int:
    return Order.objects.filter(name__startswith=prefix).count()


@ormcache.as_request()
async def first() -> Order | None:
    return await Order.objects.afirst()


async def decorated() -> None:
    assert_type(count("a"), int)
    assert_type(await first(), Order | None)


@override_cache("on")
def tested() -> int:
    with assert_hits(1, using="default") as recorder:
        assert_type(recorder, Recorder)
    return len(recorder.misses)


class Tests(CacheAssertions):
    def test(self) -> None:
        with self.assertBypassed(reasons.DISABLED), override_cache("off"):
            assert_type(tested(), int)


def errors() -> str:
    try:
        ormcache.invalidate("nothing")
    except ormcache.UnknownTable as error:
        found: LookupError = error
        return str(found)
    except ormcache.StoreUnavailable as error:
        return str(error)
    except ormcache.NotCached as error:
        return str(error)
    except ormcache.WriteRefused as error:
        refused: OperationalError = error
        return str(refused)
    except ormcache.OrmcacheError as error:
        any_other: Exception = error
        return str(any_other)
    return ormcache.__version__


@receiver(signals.invalidated)
def purge(sender: object, using: str, relations: frozenset[str], **kwargs: object) -> None:
    """Signals are those of Django: what they send is not typed."""


@receiver([signals.hit, signals.missed, signals.bypassed])
def look(sender: object, **kwargs: object) -> None:
    pass


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


wrapped = request_scope(view)


@ormcache.cached
def names(prefix: str) -> list[str]:
    ormcache.depends_on("rates")
    return list(Order.objects.filter(name__startswith=prefix).values_list("name", flat=True))


@ormcache.cached(vary=lambda pk: pk % 2, timeout=60, grace=1.5)
async def name(pk: int) -> str:
    return (await Order.objects.aget(pk=pk)).name


@ormcache.snapshot
def both() -> tuple[int, int]:
    return Order.objects.count(), len(names("a"))


async def computed() -> None:
    assert_type(names("a"), list[str])
    assert_type(await name(1), str)
    assert_type(both(), tuple[int, int])
    with ormcache.track() as dependencies:
        names("b")
    assert_type(dependencies.is_current(), bool)
    assert_type(dependencies.last_modified, datetime.datetime | None)
    ormcache.changed("rates", using="default")


@ormcache.cache_page(per="user", timeout=60, statuses=(200, 404))
def page(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse(str(pk))


@ormcache.cache_page_exempt
def other_page(request: HttpRequest) -> HttpResponse:
    assert_type(page(request, 1), HttpResponse)
    return HttpResponse()


def errors_of_computing() -> str:
    try:
        return str(both())
    except (ormcache.InexactArgument, ormcache.UncacheableValue) as error:
        wrong: TypeError = error
        return str(wrong)
    except (ormcache.WriteInSnapshot, ormcache.SnapshotUnavailable) as error:
        return str(error)
