"""Integrations with other tools: Django's admin, Django Debug Toolbar, OpenTelemetry, Prometheus.

Each package needs the tool that it is for; nothing else of ormcache imports any of them.
"""
