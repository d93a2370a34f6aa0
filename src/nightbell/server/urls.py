"""All addresses of the web process."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("nightbell.web.urls"))]
handler404 = "nightbell.web.errors.not_found"
handler500 = "nightbell.web.errors.failed"
