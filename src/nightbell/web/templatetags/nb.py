"""Small pieces of markup used everywhere: icons, addresses of files, times in the practice's zone."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.forms import BoundField
from django.utils.html import format_html
from django.utils.safestring import SafeString

from nightbell.oncall.service import Rung
from nightbell.web import format as form
from nightbell.web import present
from nightbell.web.static_files import address

register = template.Library()

register.simple_tag(address, name="asset")
register.filter("phone", form.phone)
register.filter("dial", form.dial)
register.filter("stopwatch", form.stopwatch)


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """A picture from icons.svg; decoration only, the word stands beside it."""
    return format_html(
        '<svg class="i {}" fill="none" stroke="currentColor" stroke-linecap="round" stroke-linejoin="round" '
        'aria-hidden="true"><use href="{}#{}"/></svg>',
        extra,
        address("icons.svg"),
        name,
    )


@register.simple_tag
def clock_at(moment: datetime, zone: str, now: datetime) -> str:
    """A time on the practice's clock."""
    return form.clock_time(moment, zone, now)


@register.simple_tag
def span(since: datetime, now: datetime) -> str:
    """How long it has been."""
    return form.span(now - since)


@register.simple_tag
def seconds_since(since: datetime, now: datetime) -> int:
    """For a running clock."""
    return max(0, round((now - since) / timedelta(seconds=1)))


@register.simple_tag
def told(rung: Rung) -> str:
    """How somebody was told, is being told, or will be."""
    return present.rung_words(rung.state, rung.channel, rung.answer, rung.receipt)


@register.inclusion_tag("parts/urgency.html")
def urgency(kind: str) -> dict[str, str]:
    """Shape, then word, then colour."""
    return {"kind": kind, "word": {"urgent": "Urgent", "review": "Review"}.get(kind, "Routine")}


@register.inclusion_tag("parts/custody.html")
def custody(state: str, label: str) -> dict[str, str]:
    """How far round the ring: new, heard, progress, waiting, done."""
    return {"state": state, "label": label}


@register.inclusion_tag("parts/person.html")
def person(who: object, size: str = "") -> dict[str, object]:
    """The initials of a colleague; the name must stand beside them."""
    return {"who": who, "size": size}


@register.filter
def dressed(field: BoundField) -> SafeString:
    """A form field with the classes of our sheets."""
    kind = getattr(field.field.widget, "input_type", "")
    dress = "checkbox checkbox-sm" if kind == "checkbox" else "input w-full"
    if field.errors:
        dress += " input-error"
    return SafeString(field.as_widget(attrs={"class": dress}))
