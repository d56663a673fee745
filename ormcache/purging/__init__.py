"""CDNs and reverse proxies: how they are asked to drop pages. All other packages reach one through this one.

``purgers`` has a class for each kind, and ``queue`` delivers to one of them what was written.
"""
