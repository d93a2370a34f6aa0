"""Whether the last resort of each practice can really be told: somebody is named and has proved a way.

An email that was typed in at set-up is no proof. Until its owner has typed in the code that went there, nobody is told by
it, and health, the pages and the start of the machine say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from nightbell.oncall.models import Schedule
from nightbell.people import contacts
from nightbell.people.models import Practice, User
from nightbell.people.roles import Act, Role, may


@dataclass(frozen=True, slots=True)
class Untold:
    """A last resort that nothing reaches. code: of the practice; user, name: who is named, '' where nobody is; managers:
    whether a manager can be told, as they are in its place (whom.last_resort). Without any an alert may reach nobody."""

    code: str
    user: str
    name: str
    managers: bool


def untold(practice_id: str = "") -> list[Untold]:
    """Of one practice, or of all, the worst first; [] when all is well."""
    chosen = Practice.objects.filter(pk=practice_id) if practice_id else Practice.objects.all()
    able = User.objects.filter(contacts.proved(), is_active=True)
    used = Schedule.objects.filter(
        Q(main=True) | Q(fallback__isnull=False), practice__in=chosen, fallback_email=""
    )
    silent = list(
        used.exclude(fallback__in=able).select_related("practice", "fallback").order_by("-main", "id")
    )
    bare = list(chosen.exclude(schedules__main=True))
    if not silent and not bare:
        return []
    leading = [role.value for role in Role if may(role, Act.UNROUTED)]
    led = set(able.filter(role__in=leading, home=None).values_list("practice_id", flat=True))
    found = [
        Untold(one.practice.code, one.fallback_id or "", one.fallback.name if one.fallback else "", one.practice_id in led)
        for one in silent
    ] + [Untold(one.code, "", "", one.id in led) for one in bare]  # fmt: skip
    return sorted(found, key=lambda one: (one.managers, one.code))


def report() -> dict[str, str]:
    """For health, without names: the practice's code to 'nobody' or 'managers', whoever is told in its place."""
    found: dict[str, str] = {}
    for one in untold():
        found.setdefault(one.code, "managers" if one.managers else "nobody")
    return found
