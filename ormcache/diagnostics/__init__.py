"""What is going on in the cache, computed for people and monitoring. Decides nothing; nothing below depends on it.

=================  ====================================================================
``explain/``       what ormcache makes of one statement, and why
``advice/``        judgements on databases, tables, queries and pages, and what to change
``health/``        whether databases, stores, clocks and settings are in order
``metrics/``       the metrics that are exported, and their values
``stats/``         the statistics of a whole deployment, collected, summed up and ranked
``format/``        numbers, names, reasons and SQL as people read them
``aliases``        which database aliases go through ormcache
``warmup``         repeats the most valuable reads after a deployment
``page_warmup``    requests pages after a deployment
=================  ====================================================================
"""
