"""How many calls one address may have that nobody has confirmed yet. Pure: no socket, no clock.

An INVITE costs its sender one datagram and us a slot for 32 seconds, and its source address may be forged.
All calls of a practice come from its carrier's one address, so confirmed calls are never counted.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

MAX_PROVEN = 1000  # addresses remembered; the oldest is forgotten first


class Admission:
    """Counts unconfirmed calls by source.

    most: at once from an address of which no call was ever confirmed; most_proven: from one that has completed a
    call. The second is larger, so that forged INVITEs in a carrier's name do not lock that carrier out so soon.
    """

    def __init__(self, most: int, most_proven: int) -> None:
        self._most, self._most_proven = most, most_proven
        self._waiting: Counter[str] = Counter()
        self._proven: dict[str, None] = {}

    def admits(self, host: str) -> bool:
        """Whether one more unconfirmed call of this address is taken."""
        source = _source(host)
        return self._waiting[source] < (self._most_proven if source in self._proven else self._most)

    def enter(self, host: str) -> None:
        """A call began."""
        self._waiting[_source(host)] += 1

    def leave(self, host: str) -> None:
        """A call that had entered is confirmed, or over."""
        source = _source(host)
        self._waiting[source] -= 1
        if self._waiting[source] <= 0:
            del self._waiting[source]

    def prove(self, host: str) -> None:
        """This address answered to what we sent it: it is no forged one."""
        source = _source(host)
        self._proven.pop(source, None)
        self._proven[source] = None
        if len(self._proven) > MAX_PROVEN:
            del self._proven[next(iter(self._proven))]


def _source(host: str) -> str:
    """An IPv4 address, or the network of an IPv6 one: whoever has one of those has all of its /64."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
