SECRET_KEY = "of a test"
INSTALLED_APPS = ["ormcache", "shop"]
DATABASES = {"default": {"ENGINE": "ormcache.backends.sqlite3", "NAME": ":memory:"}}
ORMCACHE = {"BLACKLIST": ["shop.*"]}
