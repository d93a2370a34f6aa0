"""All addresses of the web process."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("nightbell.web.urls"))]
handler400 = "nightbell.web.errors.refused"
handler403 = "nightbell.web.errors.refused"
handler404 = "nightbell.web.errors.refused"
handler429 = "nightbell.web.errors.slow_down"  # allauth asks for it by this name
handler500 = "nightbell.web.errors.failed"
