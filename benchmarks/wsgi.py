"""A site of one page, for gunicorn: fifteen queries, and their answers as text."""

from __future__ import annotations

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

application = get_wsgi_application()


def page(request: HttpRequest) -> HttpResponse:
    from benchmarks import calls

    return HttpResponse("\n".join(str(answer) for answer in calls.page_15()), content_type="text/plain")


urlpatterns = [path("", page)]
