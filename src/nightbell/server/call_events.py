"""What a phone tells of calls to and from staff (phone.desk), checked before anybody acts on it. Pure.

A phone reads what strangers send, so the worker believes it no more than it has to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nightbell.core.ids import is_ulid

STATES = frozenset(["trying", "ringing", "answered", "ended", "incoming"])
WHY = frozenset(
    ["", "busy", "no_answer", "refused", "unreachable", "no_trunk", "not_allowed", "hung_up", "lost", "ended"]
)
KEYS = frozenset("0123456789*#ABCD")
ORDERS = frozenset(["place_call", "say", "sound", "hush", "join", "part", "hang_up"])
EVENTS = frozenset(["leg", "key", "said", "joined", "parted"])
MOST_LEGS = 1_000
MOST_HEARD = 2**31
_NUMBER = re.compile(r"[A-Za-z0-9+._*#-]{0,40}\Z")


def call_event(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The known fields of one of EVENTS, with its name as "event"; None for what is malformed."""
    name = event.get("event")
    if name in ("joined", "parted"):
        return _known(event, {"a": _ulid, "b": _ulid})
    if name == "key":
        return _known(event, {"call": _ulid, "key": lambda key: isinstance(key, str) and key in KEYS})
    if name == "said":
        return _known(event, {"call": _ulid, "token": lambda token: type(token) is int})
    fields = {
        "call": _ulid,
        "state": lambda state: isinstance(state, str) and state in STATES,
        "code": lambda code: type(code) is int and 0 <= code <= 699,
        "why": lambda why: isinstance(why, str) and why in WHY,
        "encrypted": lambda encrypted: type(encrypted) is bool,
    }
    if event.get("state") == "incoming":
        fields |= {"dialled": _number, "caller": _number, "practice": lambda one: one == "" or _ulid(one)}
    if event.get("state") == "ended" and "heard" in event:  # an older phone does not tell
        fields["heard"] = lambda heard: type(heard) is int and 0 <= heard <= MOST_HEARD
    return _known(event, fields)


def legs_of(hello: Mapping[str, Any]) -> list[str]:
    """Calls that a phone has when it (again) connects."""
    legs = hello.get("legs")
    return [one for one in legs[:MOST_LEGS] if _ulid(one)] if isinstance(legs, list) else []


def _known(event: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any] | None:
    if not all(right(event.get(name)) for name, right in fields.items()):
        return None
    return {"event": event["event"], **{name: event[name] for name in fields}}


def _ulid(value: Any) -> bool:
    return isinstance(value, str) and is_ulid(value)


def _number(value: Any) -> bool:
    return isinstance(value, str) and _NUMBER.match(value) is not None
