"""Registering with a carrier (RFC 3261 §10, RFC 5626): what is sent, what the answer means, and when to try again. Pure."""

from __future__ import annotations

import re
import uuid
from enum import StrEnum
from urllib.parse import quote

from nightbell.sip.grammar import parse_address
from nightbell.sip.message import Response
from nightbell.sip.trunk import Trunk

LEAST, MOST = 10, 86_400  # seconds for which a registration holds
LACKS_OUTBOUND = 439  # the first hop has no outbound support (RFC 5626 §11.6)
REFRESH_AT = 0.8  # of what was granted
BASE = 30.0  # seconds (RFC 5626 §4.5)
# A carrier that refuses us changes its mind by hand; one that is away comes back by itself, perhaps at 3 a.m.
LONGEST_REFUSED, LONGEST_AWAY = 1_800.0, 120.0
_SECONDS = re.compile(r"[0-9]{1,10}\Z")
_SAFE = "+_~!*'()-.%"


class Why(StrEnum):
    """What is wrong with a trunk, for people who mend it. The words of sip.digest.Refusal belong to it too."""

    NONE = ""
    UNRESOLVED = "unresolved"  # its name has no address
    NO_ANSWER = "no-answer"
    UNAVAILABLE = "unavailable"  # it says that it cannot at present
    REFUSED = "refused"  # it does not want us: `code` says more
    PASSWORD = "password"  # noqa: S105 - wrong, or not known for this realm yet
    REALM = "realm"
    ALGORITHM = "algorithm"
    CHALLENGE = "challenge"


def away(code: int) -> bool:
    """Whether this answer is about the server's state and not about us: another one may do better, or it later."""
    return code in (408, 430, 480) or 500 <= code < 600


def contact(plain: str, trunk: Trunk, reliable: bool) -> str:
    """Our Contact with the trunk's user, and on a connection with what ties calls to it (RFC 5626 §4.2).

    plain: `<sip:host:port;...>`, as we show ourselves to that server; reliable: it is a connection, whose other side has not
    refused to be tied to it.
    """
    user = quote(trunk.user, safe=_SAFE)
    scheme, _, rest = plain.removeprefix("<").partition(":")
    value = f"<{scheme}:{user}@{rest}"
    if not reliable:
        return value
    instance = uuid.uuid5(uuid.NAMESPACE_OID, trunk.id)
    return f'{value};+sip.instance="<urn:uuid:{instance}>";reg-id=1'


def lines(
    trunk: Trunk, via: str, ours: str, call: tuple[str, str, int], expires: int, outbound: bool = True
) -> list[tuple[str, str]]:
    """Header lines of a REGISTER. call: Call-ID, From tag, CSeq; outbound: whether RFC 5626 is offered."""
    name = address_of_record(trunk)
    call_id, tag, cseq = call
    return [
        ("Via", via),
        ("Max-Forwards", "70"),
        ("From", f"{name};tag={tag}"),
        ("To", name),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} REGISTER"),
        ("Contact", ours),
        ("Expires", str(expires)),
        ("Supported", "path, outbound" if outbound else "path"),
    ]


def address_of_record(trunk: Trunk) -> str:
    return f"<sip:{quote(trunk.user, safe=_SAFE)}@{trunk.domain}>"


def granted(response: Response, ours: str, wanted: int) -> int:
    """For how many seconds a 2xx has registered us: by our own Contact in it, else by Expires, else as wanted; 0: not at all.

    ours: the Contact value that was sent. Registrars rewrite ports and addresses; then the only Contact is ours.
    """
    found: list[tuple[bool, str]] = []
    mine = parse_address(ours)
    for value in _listed(response, "contact")[:64]:
        try:
            one = parse_address(value)
        except ValueError:
            continue
        same = (one.uri.user, one.uri.host, one.uri.port) == (mine.uri.user, mine.uri.host, mine.uri.port)
        tied = dict(one.params).get("+sip.instance", "") == dict(mine.params).get("+sip.instance", "-")
        found.append((same or tied, dict(one.params).get("expires", "")))
    chosen = [text for is_ours, text in found if is_ours] or [text for _, text in found if len(found) == 1]
    for text in (*chosen[:1], response.get("expires")):
        if _SECONDS.match(text):
            return max(LEAST, min(int(text), MOST)) if int(text) else 0
    return wanted if chosen or not found else 0


def min_expires(response: Response, wanted: int) -> int:
    """What a 423 wants at least; as wanted where it names nothing more or too much."""
    text = response.get("min-expires")
    return int(text) if _SECONDS.match(text) and wanted < int(text) <= MOST else wanted


def back_off(failures: int, is_away: bool, chance: float) -> float:
    """Seconds to wait after so many failures in a row, from 1. chance: 0 to 1, so that phones do not come all at once."""
    longest = LONGEST_AWAY if is_away else LONGEST_REFUSED
    return min(longest, BASE * float(2 ** min(failures - 1, 10))) * (0.5 + chance / 2)


def _listed(response: Response, name: str) -> list[str]:
    try:
        return response.listed(name)
    except ValueError:
        return []
