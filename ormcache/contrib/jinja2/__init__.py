"""Fragments of Jinja2 templates.

Add ``"ormcache.contrib.jinja2.FragmentExtension"`` to the environment's ``extensions``::

    {% ormcache "sidebar" %}…{% endormcache %}
    {% ormcache "results", request.GET.page, timeout=3600 %}…{% endormcache %}
"""

from ormcache.contrib.jinja2.extension import FragmentExtension

__all__ = ["FragmentExtension"]
