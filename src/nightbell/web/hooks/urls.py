"""Addresses for providers."""

from __future__ import annotations

from django.urls import URLPattern, path

from nightbell.web.hooks import clips, views

_NAME = "hooks/<str:provider>"

hook_urls: list[URLPattern] = [
    path("hooks/clip/<str:sha256>.wav", clips.clip, name="hook_clip"),
    path("hooks/pause/<int:length>.wav", clips.pause, name="hook_pause"),
    path(f"{_NAME}/voice", views.voice, name="hook_voice"),
    path(f"{_NAME}/step/<int:turn>/<int:at>", views.step, name="hook_step"),
    path(f"{_NAME}/taken/<int:turn>/<int:at>", views.taken, name="hook_taken"),
    path(f"{_NAME}/recording/<int:take>", views.recording, name="hook_recording"),
    path(f"{_NAME}/status", views.status, name="hook_status"),
    path(f"{_NAME}/bye", views.bye, name="hook_bye"),
    path(f"{_NAME}/receipt/<str:attempt>", views.receipt, name="hook_receipt"),
]
