"""Markup of the call flow's pages: addresses of steps, seconds in words."""

from __future__ import annotations

from django import template

from nightbell.web.callflow_page import Place
from nightbell.web.callflow_words import seconds_words

register = template.Library()


@register.simple_tag
def step_address(place: Place, node: str) -> str:
    """The editor with another step chosen."""
    return place.address(node=node)


@register.simple_tag
def spoken_seconds(seconds: float) -> str:
    """How long words take."""
    return seconds_words(seconds)
