"""What phones say of their trunks, checked; and how the trunks stand, judged for health. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from nightbell.core.clock import parse_iso
from nightbell.core.ids import is_ulid
from nightbell.people.risk_rules import Standing, last_day, standing

STATES = ("registered", "registering", "failed", "reachable", "unreachable", "off")
GOOD = ("registered", "reachable")
MOST_TRUNKS, MOST_TEXT, MOST = 64, 255, 2**53
ALLOWED = timedelta(minutes=2)  # a trunk that just begins, or comes back, is not red at once
CERTIFICATE_LOOK = timedelta(days=21)


def checked(value: object) -> dict[str, dict[str, Any]] | None:
    """{trunk id: its state} as a phone says it, with known fields alone; None when it cannot be right."""
    if not isinstance(value, dict) or len(value) > MOST_TRUNKS:
        return None
    found = {}
    for trunk, said in value.items():
        if not is_ulid(str(trunk)) or not isinstance(said, dict) or not _right(said):
            return None
        found[str(trunk)] = {name: said[name] for name in _FIELDS if name in said}
    return found


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable()


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _moment(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_iso(value))
    except ValueError:
        return False


def _trip(value: object) -> bool:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (good and math.isfinite(value) and 0 <= value <= 1e7)  # type: ignore[operator,arg-type]


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 16 and all(_text(one) for one in value)


_FIELDS = {
    "state": lambda value: value in STATES,
    "code": _count,
    "since": _moment,
    "realm": _text,
    "algorithms": _texts,
    "rtt_ms": _trip,
    "calls": _count,
    "refused_plain": _count,
    "why": _text,
}


def _right(said: Mapping[str, object]) -> bool:
    return "state" in said and all(right(said[name]) for name, right in _FIELDS.items() if name in said)


def merged(phones: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """One state a trunk from those of all phones: the best, for one phone that is registered takes calls; counts are
    added up. 'age_s': of the words, in seconds."""
    found: dict[str, dict[str, Any]] = {}
    for phone in phones:
        states = phone.get("trunks")
        for trunk, said in states.items() if isinstance(states, dict) else ():
            new = dict(said) | {"age_s": phone.get("age_s", 0.0)}
            old = found.get(trunk)
            if old is None:
                found[trunk] = new
                continue
            best = min(
                old, new, key=lambda one: STATES.index(one["state"]) if one["state"] not in GOOD else -1
            )
            sums = {name: old.get(name, 0) + new.get(name, 0) for name in ("calls", "refused_plain")}
            found[trunk] = best | sums
    return found


def judged(
    trunks: Sequence[Mapping[str, Any]],
    states: Mapping[str, Mapping[str, Any]],
    certificate: datetime | None,
    open_to_world: bool,
    now: datetime,
) -> tuple[bool, str]:
    """Whether carriers can reach the line, and what to tell.

    trunks: as trunk_payload.stored has them; certificate: when that of the phone
    ends, None for none; open_to_world: the phone listens beyond this machine.
    """
    if not trunks:
        if not open_to_world:
            return True, "no trunk; only this machine can call"
        return False, "no trunk: no carrier can reach this line. Add one on the page Carriers"
    trouble = [words for one in trunks for words in _trouble(one, states.get(one["id"]), now)]
    if certificate is not None and certificate - now < CERTIFICATE_LOOK:
        left = (certificate - now).days
        trouble.append(
            f"the phone's certificate ends in {left} days: renew it"
            if certificate > now
            else "the phone's certificate has ended: renew it"
        )
    down = failing(trunks, states)
    order = f"{down} {'is' if down == 1 else 'are'} failing (tried again)" if down else "all in order"
    says = "; ".join(trouble) or f"{len(trunks)} {'trunk' if len(trunks) == 1 else 'trunks'}, {order}"
    return not trouble, says


def failing(trunks: Sequence[Mapping[str, Any]], states: Mapping[str, Mapping[str, Any]]) -> int:
    """How many are down now, also those that are so for too short a time to be told of as trouble."""
    return sum(states.get(one["id"], {}).get("state") in ("failed", "unreachable") for one in trunks)


def _trouble(trunk: Mapping[str, Any], state: Mapping[str, Any] | None, now: datetime) -> Iterable[str]:
    name = trunk["name"]
    if trunk.get("left_out") == "risk":
        yield f"{name}: not in use, for it is unencrypted and nobody accepted that risk"
        return
    if trunk.get("left_out"):
        yield f"{name}: what is stored of it is damaged, so it stays as the phone knew it; save it anew"
    if trunk.get("until"):
        until = parse_iso(trunk["until"])
        stands, last = standing(until, now), last_day(until)
        if stands is Standing.EXPIRED:
            yield f"{name}: unencrypted, and the acceptance of that risk ended on {last}"
        elif stands is Standing.SOON:
            yield f"{name}: unencrypted, and the acceptance of that risk ends on {last}"
    if trunk.get("moved"):
        yield f"{name}: unencrypted, and it was changed since that risk was accepted"
    if state is None:
        yield f"{name}: the phone says nothing of it"
    elif state["state"] not in (*GOOD, "off") and _old(state, now):
        yield f"{name}: {state['state']} since {str(state.get('since', ''))[:16].replace('T', ' ')} UTC"
    if state is not None and state.get("realm") and trunk.get("realm") not in ("", None, state["realm"]):
        yield f"{name}: the carrier asks in the name of another realm"


def _old(state: Mapping[str, Any], now: datetime) -> bool:
    try:
        return now - parse_iso(str(state.get("since", ""))) > ALLOWED
    except ValueError:
        return True
