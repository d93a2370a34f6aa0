"""Who may come to a page: every view says so itself, and a view that says nothing is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponseBase

from nightbell.core import clock
from nightbell.core.ids import is_ulid
from nightbell.people.access import Actor, NotFound
from nightbell.people.models import User
from nightbell.people.roles import Act

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class Door(Enum):
    """Access that is not an act of a role."""

    OPEN = "anybody, and nothing of a patient is behind it"
    SELF = "any signed-in person, second factor set up or not: one's own log-in"
    MEMBER = "any signed-in person with a second factor"
    TOKEN = "the API: the operation itself asks for a bearer token"  # noqa: S105
    HOOK = "a provider of calls, by its signature over the request, which the view itself checks"


@dataclass(frozen=True, slots=True)
class Access:
    """What a view declared: a door, or the act that a role must include."""

    need: Door | Act


def allows(need: Door | Act) -> Callable[[View], View]:
    """Declare who may come to a view. Without this the view is refused."""

    def mark(view: View) -> View:
        view.access = Access(need)  # type: ignore[attr-defined]
        return view

    return mark


def guarded(view: Callable[..., Any], need: Door | Act) -> Callable[..., Any]:
    """The same for a view that is not ours."""

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return view(request, *args, **kwargs)

    inner.access = Access(need)  # type: ignore[attr-defined]
    return inner


def declared(view: Callable[..., Any]) -> Access | None:
    """What the view declared, or None."""
    found = getattr(view, "access", None)
    return found if isinstance(found, Access) else None


def ulid_or_nothing(text: str) -> str:
    """An id from outside, or '' when it has not the shape of one: then nothing is found by it."""
    return text if is_ulid(text) else ""


def ulid_if_any(text: str, what: str) -> str:
    """The id of a field that may be left empty. Raises NotFound for what has not the shape of one: as '' it would mean
    something else. what: 'schedule' or the like."""
    if text and not is_ulid(text):
        raise NotFound(
            f"There is no such {what}", "it was removed, or the address is wrong", "reload the page"
        )
    return text


def source_of(request: HttpRequest) -> str:
    """The address that the request came from. Headers are not believed: anybody can write them."""
    return str(request.META.get("REMOTE_ADDR", ""))[:45]


COVERING = "nb_covering"  # in the session: the row of this person in a practice that they cover
OWN = "account/"  # what is about oneself, whichever practice one looks at


def guest_here(request: HttpRequest, user: User) -> User | None:
    """In which practice this person covers at the moment, as they chose; None in their own. A covering that has ended,
    or a log-in that was locked, leads back there."""
    chosen = request.session.get(COVERING)
    if not chosen:
        return None
    row = User.objects.select_related("practice").filter(pk=chosen, home=user, is_active=True).first()
    if row is None:
        request.session.pop(COVERING, None)
    return row


def stand_in(request: HttpRequest, guest: User | None) -> None:
    """From now on this browser shows the practice that `guest` covers; None: one's own again."""
    if guest is None:
        request.session.pop(COVERING, None)
    else:
        request.session[COVERING] = guest.id
    if hasattr(request, "nb_actor"):
        del request.nb_actor


def _is_own(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is None or match.route.startswith(OWN)


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person as an actor, the same one all through a request: in a practice that they cover, their row
    there; on pages about themselves always they."""
    actor: Actor | None = getattr(request, "nb_actor", None)
    if actor is None:
        user = request.user
        if not isinstance(user, User):
            raise TypeError("actor_of is for signed-in people; the middleware stops others")
        if request.session.get(COVERING) and not _is_own(request):
            user = guest_here(request, user) or user
        session = hashlib.sha256((request.session.session_key or "").encode()).hexdigest()
        actor = Actor(user, source_of(request), session, clock.utc_now())
        request.nb_actor = actor  # type: ignore[attr-defined]
    return actor
