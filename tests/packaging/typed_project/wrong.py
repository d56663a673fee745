"""Wrong uses. Each line says how it has to be reported; were it not, the check would be worth nothing."""

from shop.models import Order

import ormcache

ormcache.invalidate(1)  # wrong: arg-type
ormcache.invalidate(Order(name="one"))  # wrong: arg-type
year = ormcache.last_write(Order).year  # wrong: union-attr
ormcache.stats(alias="default")  # wrong: call-arg
ormcache.adaptive_bypasses()["default"]  # wrong: call-overload
ormcache.there_is_no_such_name()  # wrong: attr-defined


@ormcache.disabled()
def count(prefix: str) -> int:
    return len(prefix)


count(1)  # wrong: arg-type


@ormcache.disabled  # wrong: call-arg
def without_brackets() -> None: ...


@ormcache.cached
def cached(number: int) -> str:
    return str(number)


cached("a")  # wrong: arg-type
ormcache.cache_page(per=1)  # wrong: arg-type
