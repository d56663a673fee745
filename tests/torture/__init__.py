"""Several hosts on one machine, with links that are cut, processes that are killed, and a judge of all that was read.

Hosts are network namespaces, which needs Linux and root. Database and store are those of the tests, on hosts of their
own; the site runs on the others. What each process reads and writes is recorded, and judged at the end.

``tests/integration/faults/test_torture.py`` runs it for some seconds, and a soak for longer, in which servers are
restarted, and deploys and the schema change besides. It says how to search for hours.
"""
