"""Answers requests for the page."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ormcache.diagnostics.aliases import cached_aliases
from ormcache.diagnostics.page.content import ORDERS, page_of
from ormcache.diagnostics.stats.overview import overview_of

PERMISSION = "ormcache_admin.view_statistics"


def context_of(request: HttpRequest) -> dict[str, Any]:
    """Return the context of the page's templates, for the parameters ``database`` and ``order``. Raises Http404."""
    aliases = cached_aliases()
    using = request.GET.get("database", aliases[0] if aliases else "")
    order = request.GET.get("order", next(iter(ORDERS)))
    if (aliases and using not in aliases) or order not in ORDERS:
        raise Http404
    page = page_of(overview_of(using), order) if aliases else None
    return {"aliases": aliases, "using": using, "order": order, "orders": ORDERS, "page": page}


@never_cache
@require_safe
def standalone(request: HttpRequest) -> HttpResponse:
    """Show the page outside any admin, to staff with the permission."""
    user: Any = request.user  # of the project's own class, perhaps
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if not (user.is_staff and user.has_perm(PERMISSION)):
        raise PermissionDenied
    return TemplateResponse(request, "ormcache_admin/standalone.html", context_of(request))
