"""The gate before the parser: strangers get nothing, floods get nothing, and what belongs to a call always passes."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

from nightbell.core.log import Log
from nightbell.phone.admission import Buckets, source_of
from nightbell.phone.policy import Policy, Verdict
from nightbell.phone.streams import Limits, Peer
from nightbell.sip.glance import glance

REMEMBERED = 4_096  # verdicts by source
NETWORKS = 256  # strangers' networks that have been told of
SAY_AGAIN = 60.0  # seconds between two log lines about one network


class Held(Protocol):
    """What is in progress. Branches of requests of ours and tags of calls are random and long: whoever names one has heard
    it from us, or from a carrier whom we told. A carrier may end a call from another machine than the one that rang.
    """

    def asked(self, branch: str) -> bool:
        """Whether we wait for an answer to a request with this branch."""
        ...

    def answering(self, branch: str) -> bool:
        """Whether a request with this branch is being treated."""
        ...

    def in_call(self, tag: str) -> bool:
        """Whether a call has this tag of ours."""
        ...

    def points_to(self, host: str) -> bool:
        """Whether the requests of a call in progress go to this host."""
        ...


class Gate:
    """Judges sources, and each message by its first bytes.

    names: of a peer's verified certificate; own: whether an address is this machine's; opened: whether we opened the
    connection.
    """

    def __init__(
        self,
        policy: Policy,
        limits: Limits,
        counters: Counter[str],
        log: Log,
        calls: Held,
    ) -> None:
        self.policy, self.counters = policy, counters
        self.names: Callable[[Peer], Collection[str]] = lambda peer: ()
        self.own: Callable[[str], bool] = lambda host: False
        self.opened: Callable[[Peer], bool] = lambda peer: False
        self._log, self._held = log, calls
        self._requests = Buckets(limits.rate, limits.burst)
        self._streams = Buckets(limits.rate, limits.burst)
        self._unproven = Buckets(limits.rate / 2, limits.burst / 2)
        self._verdicts: dict[tuple[str, str, int], Verdict] = {}
        self._told: dict[str, float] = {}

    def take(self, policy: Policy) -> None:
        """A new snapshot's rules, at once. Calls in progress are not asked again."""
        self.policy = policy
        self._verdicts.clear()

    def verdict(self, peer: Peer) -> Verdict:
        key = (peer.transport, peer.host, peer.connection)
        found = self._verdicts.get(key)
        if found is None:
            found = self.policy.judge(peer, self.names(peer), self._own(peer.host), self.opened(peer))
            if len(self._verdicts) >= REMEMBERED:
                self._verdicts.clear()
            self._verdicts[key] = found
        return found

    def lets_in(self, host: str, encrypted: bool, now: float) -> bool:
        """Whether a connection is accepted: before a byte is exchanged.

        A handshake costs a millisecond. Where a certificate is to tell who somebody is anybody may have one, so that
        all of those share what is given to them.
        """
        own = self._own(host)
        known = self.policy.door(host, False, own) or self._held.points_to(host)
        if not known and not self.policy.door(host, encrypted, own):
            self.stranger(host, now)
            return False
        passed = self._streams.take(source_of(host), now) if known else self._unproven.take("", now)
        self.counters["throttled"] += not passed
        return passed

    def passes(self, data: bytes, peer: Peer, now: float) -> Verdict | None:
        """Whether a message goes on to the parser, and as whose. None: no answer, not even a refusal."""
        verdict, look = self.verdict(peer), glance(data)
        if look.response:
            # Where the branch hides in a folded line only the parser can tell.
            expected = self._held.asked(look.branch) or (verdict.known and not look.branch)
            self.counters["stray_responses"] += not expected
            return verdict if expected else None
        if look.to_tag and self._held.in_call(look.to_tag):
            return verdict
        if not verdict.known:
            self.stranger(peer.host, now)
            return None
        if self._held.answering(look.branch):
            return verdict
        if look.scanner and verdict.trunk is None:
            self.counters["scanners"] += 1
            return None
        # A datagram's source can be forged: what is sent in a carrier's name must not use up what its streams may.
        if not self._requests.take(f"{'udp' if peer.transport == 'udp' else ''}|{source_of(peer.host)}", now):
            self.counters["throttled"] += 1
            return None
        return verdict

    def cuts(self, peer: Peer) -> bool:
        """Whether a connection whose message did not pass is closed: not one that may belong to calls in progress."""
        return peer.reliable and not self._held.points_to(peer.host)

    def stranger(self, host: str, now: float) -> None:
        """Count one, and say so once a minute for each network, without a word of what it said."""
        self.counters["strangers"] += 1
        network = _network(host)
        if now - self._told.get(network, -SAY_AGAIN) < SAY_AGAIN:
            return
        self._told.pop(network, None)
        if len(self._told) >= NETWORKS:
            del self._told[next(iter(self._told))]
        self._told[network] = now
        self._log("sip_stranger", reference=network, count=self.counters["strangers"])

    def _own(self, host: str) -> bool:
        return self.policy.local and self.own(host)


def _network(host: str) -> str:
    if ":" not in host:
        return f"{host.rpartition('.')[0]}.0/24"
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return "none"
