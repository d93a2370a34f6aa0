"""From a trunk and what the phone says of it to the words of its card. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nightbell.core.clock import parse_iso
from nightbell.line.presets import preset
from nightbell.line.trunk_rules import other_realm
from nightbell.line.trunks import TrunkView
from nightbell.people.risk_rules import Standing, last_day, standing
from nightbell.web.format import clock_time

SILENT = 60.0  # seconds after which what the phone said last proves nothing of now
KINDS = {
    "register": "We register there",
    "address": "Known by its addresses",
    "certificate": "Known by its certificate",
}
TRANSPORTS = {"tls": "TLS", "tcp": "TCP, unencrypted", "udp": "UDP, unencrypted"}

# What the phone gives as the reason, in words and with the mend.
_WHY = {
    "realm": ("The carrier asks in the name of another realm.", ""),
    "algorithm": ("The carrier asks for a kind of answer that we do not give.", "Ask the carrier for MD5 or SHA-256."),
    "password": ("The carrier does not believe user and password.", "Type both again, as the carrier's page has them."),
    "challenge": ("The carrier asked in a way that nobody can answer.", "Tell the carrier."),
    "no-answer": (
        "The carrier does not answer.",
        "Check server and port, that its certificate is valid, and that your firewall lets us out.",
    ),
    "restart": (
        "Its port was not known when the phone was started, so that the phone may not connect to it.",
        "Restart the phone when no call is in progress.",
    ),
    "unresolved": ("The carrier's name leads nowhere.", "Check how the server is written, and this machine's DNS."),
    "unavailable": ("The carrier says that it cannot at present.", "We keep trying. Ask the carrier if it lasts."),
}  # fmt: skip
_CODES = {
    401: _WHY["password"], 407: _WHY["password"],
    403: ("The carrier refuses us.", "Check that the account is active and our address allowed there."),
    404: ("The carrier does not know this user.", "Check user and domain."),
    408: _WHY["no-answer"],
    423: ("The carrier wants a longer registration.", "Raise the seconds of a registration."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """tone: 'yes', 'no' or 'wait'; said: what is true; mend: what to do, may be ''; realm: another one, to be accepted
    by a person; facts: (name, value)."""

    trunk: TrunkView
    carrier: str
    tone: str
    head: str
    said: str
    mend: str
    realm: str
    risk: str
    risk_tone: str
    facts: tuple[tuple[str, str], ...]


def card(one: TrunkView, state: Mapping[str, Any] | None, zone: str, now: datetime) -> Card:
    """What a page shows of one trunk."""
    tone, head, said, mend = _standing(one, state, zone, now)
    risk, risk_tone = _risk(one, now)
    return Card(
        one, preset(one.preset).name, tone, head, said, mend, other_realm(one.realm, state or {}), risk, risk_tone,
        tuple(_facts(one, state)),
    )  # fmt: skip


def _standing(
    one: TrunkView, state: Mapping[str, Any] | None, zone: str, now: datetime
) -> tuple[str, str, str, str]:
    if one.needs_risk:
        return "no", "Not in use", "It is unencrypted, and nobody accepted that risk.", ""
    if state is None:
        return (
            "wait",
            "Not known yet",
            "The phone has said nothing of it.",
            "It takes some seconds after a change.",
        )
    if state.get("age_s", 0.0) > SILENT:
        return (
            "wait",
            "Not known now",
            f"The phone was heard {state['age_s']:.0f} s ago.",
            "Look at the status page.",
        )
    since = _since(state, zone, now)
    kind = state.get("state")
    if kind == "registered":
        return "yes", f"Registered{since}", "Calls come in.", ""
    if kind == "reachable":
        return "yes", f"Answers{since}", "Calls come in.", ""
    if kind == "off":
        return "yes", "Waits for calls", "There is nothing to ask; calls are taken when they come.", ""
    if kind == "registering":
        return "wait", f"Registering{since}", "The carrier has not answered yet.", ""
    said, mend = _why(state)
    return "no", f"{'Not registered' if one.kind == 'register' else 'Not reached'}{since}", said, mend


def _since(state: Mapping[str, Any], zone: str, now: datetime) -> str:
    try:
        return f" since {clock_time(parse_iso(str(state.get('since', ''))), zone, now)}"
    except ValueError:
        return ""


def _why(state: Mapping[str, Any]) -> tuple[str, str]:
    code = int(state.get("code", 0))
    if code in _CODES and state.get("why") != "realm":
        return _CODES[code]
    if state.get("why") in _WHY:  # 'refused' is told by its code
        return _WHY[state["why"]]
    if code >= 500:
        return f"The carrier has trouble of its own ({code}).", "We keep trying. Ask the carrier if it lasts."
    if code:
        return f"The carrier refuses us ({code}).", "Ask the carrier what that means."
    return _WHY["no-answer"]


def _risk(one: TrunkView, now: datetime) -> tuple[str, str]:
    """The line about encryption, and its tone: '', 'review' or 'urgent'."""
    if one.risk is None:
        if one.transport == "tls":
            return "Encrypted. Unencrypted calls are refused.", ""
        return "Unencrypted: not used before its risk is accepted.", "urgent"
    if one.risk_moved:
        return "Unencrypted calls are taken, and the trunk was changed since that was accepted.", "urgent"
    end = f"{last_day(one.risk.until):%d %b %Y}".lstrip("0")
    who = f"accepted by {one.risk.accepted_name}"
    stands = standing(one.risk.until, now)
    if stands is Standing.EXPIRED:
        return f"Unencrypted calls are taken, and the acceptance ended on {end}.", "urgent"
    if stands is Standing.SOON:
        return f"Unencrypted calls are taken, {who}. That ends on {end}.", "review"
    return f"Unencrypted calls are taken, {who} until {end}.", ""


def _facts(one: TrunkView, state: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    found = [("Server", one.proxy or one.domain or "none"), ("Transport", TRANSPORTS.get(one.transport, "?"))]
    if one.kind == "register":
        found.append(("User", one.user))
    if one.sources:
        more = f" and {len(one.sources) - 3} more" if len(one.sources) > 3 else ""
        found.append(("Calls come from", ", ".join(one.sources[:3]) + more))
    if one.peer_name:
        found.append(("Certificate name", one.peer_name))
    if state:
        if state.get("rtt_ms") is not None:
            found.append(("Round trip", f"{state['rtt_ms']:.0f} ms"))
        found.append(("Calls now", str(state.get("calls", 0))))
        found.append(("Refused, unencrypted", str(state.get("refused_plain", 0))))
        found.append(("The phone's word", f"{state.get('age_s', 0):.0f} s old"))
    return found
