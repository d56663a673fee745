from debug_toolbar.toolbar import debug_toolbar_urls
from library import urls

urlpatterns = [*urls.urlpatterns, *debug_toolbar_urls()]
