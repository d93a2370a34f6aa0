"""Which schedule and which steps serve a message: the first route that fits, else the main schedule and its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from nightbell.mailbox.models import Message
from nightbell.oncall import policies
from nightbell.oncall.models import Route, Schedule
from nightbell.people.models import Practice


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a message a route looks at. open: whether the practice was when the call came; None: not known."""

    mailbox: str
    number: str
    urgency: str
    open: bool | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a route serves; '' serves everything. hours: 'open', 'closed' or ''."""

    mailbox: str = ""
    number: str = ""
    urgency: str = ""
    hours: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a message is told of. quiet: not before the morning; by_route: a route with a policy says so."""

    schedule: Schedule | None
    steps: tuple[policies.Step, ...]
    quiet: bool = False
    by_route: bool = False


def not_known(_practice: Practice, _at: datetime) -> bool | None:
    """Without opening hours nobody knows whether a practice is open."""
    return None


# Set by server.wiring: opening hours belong to the line, a room above this one.
is_open: Callable[[Practice, datetime], bool | None] = not_known


def fits(wanted: Wanted, asked: Asked) -> bool:
    """Whether a route serves a message. Pure. Hours that nobody knows are those of a closed practice: of the night."""
    shut = asked.open is not True
    return (
        wanted.mailbox in ("", asked.mailbox)
        and wanted.number in ("", asked.number)
        and wanted.urgency in ("", asked.urgency)
        and (not wanted.hours or (wanted.hours == "closed") == shut)
    )


@dataclass(frozen=True, slots=True)
class Table:
    """The main schedule and the routes of a practice, as they are now."""

    main: Schedule | None
    routes: tuple[Route, ...]


def table_of(practice_id: str) -> Table:
    main = Schedule.objects.filter(practice_id=practice_id, main=True).first()
    found = Route.objects.filter(practice_id=practice_id).select_related("schedule", "policy")
    return Table(main, tuple(found.order_by("position", "id")))


def choose(message: Message, table: Table | None = None) -> Chosen:
    """Of a message, its practice loaded. What cannot be read is passed over: a message is always served.

    table: of its practice, for who asks for many.
    """
    table = table or table_of(message.practice_id)
    if table.routes:
        asked = _asked(message, any(route.hours for route in table.routes))
        for route in table.routes:
            if fits(_wanted(route), asked):
                return _served(route, table.main, asked.urgency)
    return Chosen(table.main, policies.read_steps(table.main.steps) if table.main else ())


def _served(route: Route, main: Schedule | None, urgency: str) -> Chosen:
    schedule = route.schedule or main
    steps = policies.read_steps(route.policy.steps) if route.policy else ()
    if not steps and schedule is not None:
        steps = policies.read_steps(schedule.steps)
    if not steps and main is not None:
        steps = policies.read_steps(
            main.steps
        )  # a schedule says who, not how: the practice's usual steps stay
    quiet = route.quiet_until_morning and urgency != "urgent"
    return Chosen(schedule, steps, quiet, route.policy is not None)


def _wanted(route: Route) -> Wanted:
    return Wanted(route.mailbox_id or "", route.number_id or "", route.urgency, route.hours)


def _asked(message: Message, with_hours: bool) -> Asked:
    return Asked(
        message.mailbox_id or "", message.dialled, message.urgency,
        is_open(message.practice, message.received_at) if with_hours else None,
    )  # fmt: skip
