"""Which number a patient first dialled, and why the call came on to us: History-Info (RFC 7044), Diversion (RFC 5806),
P-Called-Party-ID (RFC 7315), cause parameters (RFC 4458) and Reason (RFC 3326).

Never raises: what is malformed is passed over, for a call that comes by an odd way is still a patient's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from nightbell.sip.grammar import Uri, parse_address, parse_params, printable, split
from nightbell.sip.message import Request
from nightbell.sip.trunk import DIALLED, Dialled

MAX_ENTRIES = 32
_INDEX = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,15}\Z")
_CAUSE = re.compile(r"[;?&]\s*cause\s*=\s*\"?([0-9]{3})(?![0-9])", re.IGNORECASE)
_HEADER = re.compile(r"[?&]Reason=([^&>]{1,200})", re.IGNORECASE)
# What makes a call come on (RFC 4458, RFC 5806) in our own few words.
_BY_CAUSE = {
    302: "always",
    408: "no-answer",
    486: "busy",
    487: "deflected",
    480: "deflected",
    503: "unreachable",
}
# Of how calls end (RFC 3326, Q.850): what is worth a counter of its own.
_TOLD = {
    "SIP": frozenset([200, 408, 480, 486, 487, 500, 503, 603]),
    "Q.850": frozenset([16, 17, 18, 19, 20, 21, 31, 34, 38, 41, 102, 127]),
}
_BY_WORD = {
    "user-busy": "busy",
    "no-answer": "no-answer",
    "unavailable": "unreachable",
    "unconditional": "always",
    "time-of-day": "by-time",
    "do-not-disturb": "by-time",
    "deflection": "deflected",
    "follow-me": "always",
    "out-of-service": "unreachable",
    "away": "always",
}


def first_dialled(
    request: Request, ours: Callable[[str], bool], order: Iterable[Dialled] = DIALLED
) -> tuple[str, str]:
    """(user part, where it stood) of the first number that is one of ours, looked for in this order; ('', '') if none is.

    ours(user part): whether the snapshot has it.
    """
    for place in order:
        for user in candidates(request, place):
            if user and ours(user):
                return user, place.value
    return "", ""


def candidates(request: Request, place: Dialled) -> list[str]:
    """The user parts that stand in this place, the one that was dialled earliest first."""
    if place is Dialled.HISTORY:
        return [_user(uri) for uri, _ in _history(request)]
    if place is Dialled.DIVERSION:
        # The newest stands on top (RFC 5806, RFC 7544): the first who diverted, whom the patient dialled, is the last.
        return [_user(uri) for uri, _ in reversed(_addresses(request, "diversion"))]
    if place is Dialled.CALLED:
        return [_user(uri) for uri, _ in _addresses(request, "p-called-party-id")]
    return [_user(request.to.uri if place is Dialled.TO else request.uri)]


def diverted(request: Request) -> str:
    """Why the first diversion happened, one of our words: always busy no-answer unreachable deflected by-time other; '' if
    there was none."""
    entries = _addresses(request, "diversion")
    if entries:
        params = dict(entries[-1][1])
        return _BY_WORD.get(params.get("reason", "").strip('"').lower(), "other")
    for _, raw in _history(request):
        cause = _cause(raw)
        if cause:
            return _BY_CAUSE.get(cause, "other")
    cause = _cause(request.uri.text)
    return _BY_CAUSE.get(cause, "other") if cause else ""


def reasons(request: Request) -> tuple[str, ...]:
    """Reason values as words for counters: 'SIP-200', 'Q.850-16'; those that tell nothing are 'SIP-other'."""
    found = []
    for value in _values(request, "reason")[:4]:
        protocol, _, rest = value.partition(";")
        try:
            cause = dict(parse_params(f";{rest}" if rest else "")).get("cause", "")
        except ValueError:
            continue
        known = {"sip": ("SIP", 700), "q.850": ("Q.850", 128)}.get(protocol.strip().lower())
        if known and cause.isascii() and cause.isdigit() and len(cause) <= 3 and 0 < int(cause) < known[1]:
            found.append(f"{known[0]}-{int(cause) if int(cause) in _TOLD[known[0]] else 'other'}")
    return tuple(found)


def reason_line(cause: int, text: str) -> tuple[str, str]:
    """Our own Reason for a BYE. text: words of ours without quotes."""
    return "Reason", f'SIP;cause={cause};text="{text}"'


def _user(uri: Uri) -> str:
    return "" if uri.host == "anonymous.invalid" else printable(uri.user.partition(";")[0])


def _values(request: Request, name: str) -> list[str]:
    """The values of the lines that can be cut, at most MAX_ENTRIES of each line's."""
    found: list[str] = []
    for line in request.headers.get(name, [])[:MAX_ENTRIES]:
        try:
            found += [part for part in split(line, ",") if part]
        except ValueError:
            continue
    return found if len(found) <= MAX_ENTRIES else [*found[: MAX_ENTRIES // 2], *found[-MAX_ENTRIES // 2 :]]


def _addresses(request: Request, name: str) -> list[tuple[Uri, tuple[tuple[str, str], ...]]]:
    found = []
    for value in _values(request, name):
        try:
            address = parse_address(value)
        except ValueError:
            continue
        if address.uri.known:
            found.append((address.uri, address.params))
    return found


def _history(request: Request) -> list[tuple[Uri, str]]:
    """(URI, value as it came) in the order of the indices, which is that of the way; entries that ask for privacy too:
    the number is only compared with our own, and kept when it is one."""
    found = []
    for at, value in enumerate(_values(request, "history-info")):
        try:
            address = parse_address(value)
        except ValueError:
            continue
        index = dict(address.params).get("index", "")
        key = [int(part) for part in index.split(".")] if _INDEX.match(index) else [10_000]
        if address.uri.known:
            found.append(((key, at), address.uri, value))
    return [(uri, value) for _, uri, value in sorted(found, key=lambda one: one[0])]


def _cause(raw: str) -> int:
    """The cause of a URI's parameter (RFC 4458), else of its embedded Reason header; 0 for none."""
    header = _HEADER.search(raw)
    match = _CAUSE.search(raw) or _CAUSE.search(unquote(header[1]) if header else "")
    return int(match[1]) if match else 0
