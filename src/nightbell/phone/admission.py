"""How much one source may ask of us: calls that nobody has confirmed yet, requests a second, calls without a word. Pure:
no socket, no clock of its own.

An INVITE costs its sender one datagram and us a slot for 32 seconds, and its source address may be forged.
All calls of a practice come from its carrier's one address, so confirmed calls are never counted.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

MAX_PROVEN = 1000  # addresses remembered; the oldest is forgotten first
MAX_BUCKETS = 4096
MINUTE = 60.0


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
        source = source_of(host)
        return self._waiting[source] < (self._most_proven if source in self._proven else self._most)

    def enter(self, host: str) -> None:
        """A call began."""
        self._waiting[source_of(host)] += 1

    def leave(self, host: str) -> None:
        """A call that had entered is confirmed, or over."""
        source = source_of(host)
        self._waiting[source] -= 1
        if self._waiting[source] <= 0:
            del self._waiting[source]

    def prove(self, host: str) -> None:
        """This address answered to what we sent it: it is no forged one."""
        source = source_of(host)
        self._proven.pop(source, None)
        self._proven[source] = None
        if len(self._proven) > MAX_PROVEN:
            del self._proven[next(iter(self._proven))]


class Buckets:
    """Token buckets by key: `burst` at once, `rate` a second in the long run. Who was quiet longest is forgotten first,
    which gives that one a full bucket again."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, float(burst)
        self._kept: dict[str, tuple[float, float]] = {}  # tokens, and when that was

    def left(self, key: str, now: float) -> float:
        """How many tokens there are. now: seconds of a clock that only goes forward."""
        tokens, then = self._kept.get(key, (self._burst, now))
        return min(self._burst, tokens + max(0.0, now - then) * self._rate)

    def take(self, key: str, now: float) -> bool:
        """Take one, if there is one."""
        tokens = self.left(key, now)
        taken = tokens >= 1.0
        self._kept.pop(key, None)
        self._kept[key] = (tokens - taken, now)
        if len(self._kept) > MAX_BUCKETS:
            del self._kept[next(iter(self._kept))]
        return taken


class Quiet:
    """Bounds calls in which nobody said anything: each leaves a row that somebody has to look at.

    Counted by the caller's number within a trunk, so that nobody uses up another's share; a number that has spoken
    once is not held to it any more, and a call without a number cannot be told from another patient's: never refused.
    """

    def __init__(self, a_minute: int, a_minute_local: int) -> None:
        self._numbers = Buckets(a_minute / MINUTE, a_minute)
        self._sources = Buckets(a_minute_local / MINUTE, a_minute_local)
        self._spoke: dict[str, None] = {}

    def admits(self, trunk: str, who: str, now: float) -> bool:
        """trunk: its id, '' for none; who: the caller's number, or the source where there is no trunk."""
        if not who or _of(trunk, who) in self._spoke:
            return True
        buckets = self._numbers if trunk else self._sources
        return buckets.left(_of(trunk, who), now) >= 1.0

    def over(self, trunk: str, who: str, spoke: bool, now: float) -> None:
        """A call ended. spoke: sound came."""
        if not who:
            return
        key = _of(trunk, who)
        if not spoke:
            (self._numbers if trunk else self._sources).take(key, now)
        elif trunk:  # one talker on this machine says nothing of the next
            self._spoke.pop(key, None)
            self._spoke[key] = None
            if len(self._spoke) > MAX_PROVEN:
                del self._spoke[next(iter(self._spoke))]


def _of(trunk: str, who: str) -> str:
    return f"{trunk}|{who}"


def source_of(host: str) -> str:
    """An IPv4 address, or the network of an IPv6 one: whoever has one of those has all of its /64."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
