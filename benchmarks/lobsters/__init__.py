"""The request mix of lobste.rs: a link aggregator with its tables, its pages and its traffic.

The site's maintainers have published what is asked of it, and how votes and comments are distributed; it is the
workload of "Noria: dynamic, partially-stateful data-flow for high-performance web applications" (OSDI 2018).
"""
