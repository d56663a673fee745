"""A page in Django's admin: is the cache working, what does it gain, and what should be changed?"""
