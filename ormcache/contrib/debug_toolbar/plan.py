"""Explains a statement, for the button beside a query. Nothing is run."""

from __future__ import annotations

from typing import Any

from debug_toolbar.decorators import render_with_toolbar_language, require_show_toolbar
from debug_toolbar.forms import SignedDataForm
from debug_toolbar.toolbar import DebugToolbar
from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from ormcache.contrib.debug_toolbar.rendering import highlight, render
from ormcache.diagnostics.explain.explainer import explain
from ormcache.diagnostics.format.relations import display_name
from ormcache.exceptions import NotCached

_PANEL = "OrmcachePanel"


@csrf_exempt
@login_not_required
@require_show_toolbar
@render_with_toolbar_language
def plan(request: HttpRequest) -> HttpResponse:
    """Explain a statement that the toolbar recorded, to those who see the toolbar: the form is signed."""
    form: Any = SignedDataForm(request.POST)
    if request.method != "POST" or not form.is_valid():
        return HttpResponseBadRequest("Invalid signature")
    asked = form.verified_data()
    event = _event(asked.get("request_id"), asked.get("number"))
    values: dict[str, Any] = {"event": event}
    if event is not None:
        values["statement"] = highlight(event["sql"])
        try:
            explanation = explain(event["sql"], event["using"])
        except (NotCached, Error) as error:
            values["error"] = str(error)
        else:
            values["explanation"] = explanation
            values["reads"] = [(display_name(one.name), one) for one in explanation.reads]
    return JsonResponse({"content": render("plan.html", values)})


def _event(request_id: str | None, number: str | None) -> dict[str, Any] | None:
    """Return a read that the toolbar still has; None if it has not."""
    toolbar = DebugToolbar.fetch(request_id or "", panel_id=_PANEL)
    if toolbar is None:
        return None
    for event in toolbar.get_panel_by_id(_PANEL).get_stats().get("events", ()):
        if str(event["number"]) == number and event["kind"] != "write":
            found: dict[str, Any] = event
            return found
    return None
