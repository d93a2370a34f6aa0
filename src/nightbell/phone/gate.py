"""The gate before the parser: strangers get nothing, floods get nothing, and what belongs to a call always passes."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol

from nightbell.core.log import Log
from nightbell.phone.admission import Buckets, source_of
from nightbell.phone.policy import Policy, Verdict
from nightbell.phone.streams import Limits, Peer
from nightbell.sip.glance import glance

REMEMBERED = 4_096  # verdicts by source
NETWORKS = 256  # strangers' networks that have been told of
SAY_AGAIN = 60.0  # seconds between two log lines about one network
PROVEN = 1_024  # hosts that have shown a trunk's certificate


class Held(Protocol):
    """What is in progress. Branches of requests of ours and tags of calls are random and long: whoever names one has heard
    it from us, or from a carrier whom we told. A carrier may end a call from another machine than the one that rang.
    """

    def asked(self, branch: str) -> bool:
        """Whether we wait for an answer to a request with this branch."""
        ...

    def answering(self, method: str, branch: str) -> bool:
        """Whether a request with this branch is being treated that one of this method repeats, ends or acknowledges."""
        ...

    def in_call(self, tag: str) -> bool:
        """Whether a call has this tag of ours."""
        ...

    def points_to(self, host: str) -> bool:
        """Whether the other side of a call in progress spoke from this host."""
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
        self._unproven = Buckets(limits.rate / 2, limits.burst / 2)  # of all together
        self._each_unproven = Buckets(limits.rate / 10, limits.burst / 10)
        self._proven: dict[str, None] = {}
        self._verdicts: dict[tuple[str, str, int], Verdict] = {}
        self._told: dict[str, float] = {}

    def take(self, policy: Policy) -> None:
        """A new snapshot's rules, at once. Calls in progress are not asked again."""
        self.policy = policy
        self._verdicts.clear()
        self._proven.clear()

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
        all of those share what is given to them, and one host gets a fifth of it.
        """
        source, known = source_of(host), self.knows(host)
        if not known and not self.policy.door(host, encrypted, self._own(host)):
            self.stranger(host, now)
            return False
        if known or host in self._proven:
            passed = self._streams.take(source, now)
        else:
            passed = self._each_unproven.take(source, now) and self._unproven.take("", now)
        self.counters["throttled"] += not passed
        return passed

    def knows(self, host: str) -> bool:
        """Whether a host is known by its address alone, before it has said or proved anything."""
        return self.policy.door(host, False, self._own(host)) or self._held.points_to(host)

    def trusts(self, peer: Peer, now: float) -> bool:
        """Whether a connection is kept, once its certificate is known. Who has proved who he is need not hurry with others
        the next time."""
        if self.verdict(peer).known:
            if len(self._proven) >= PROVEN:
                del self._proven[next(iter(self._proven))]
            self._proven[peer.host] = None
            return True
        if self._held.points_to(peer.host):
            return True
        self.stranger(peer.host, now)
        return False

    def passes(self, data: bytes, peer: Peer, now: float) -> Verdict | None:
        """Whether a message goes on to the parser, and as whose. None: no answer, not even a refusal.

        Where the glance errs, the parser shows it: for what was exempt and then begins something, see `spend`.
        """
        verdict, look = self.verdict(peer), glance(data)
        if look.response:
            # Where the branch hides in a folded line only the parser can tell.
            expected = self._held.asked(look.branch) or (verdict.known and not look.branch)
            self.counters["stray_responses"] += not expected
            return verdict if expected else None
        if look.to_tag and self._held.in_call(look.to_tag):
            return replace(verdict, exempt=True)
        if not verdict.known:
            self.stranger(peer.host, now)
            return None
        if self._held.answering(look.method, look.branch):
            return replace(verdict, exempt=True)
        if look.scanner and verdict.trunk is None:
            self.counters["scanners"] += 1
            return None
        return self.spend(verdict, peer, now)

    def spend(self, verdict: Verdict, peer: Peer, now: float) -> Verdict | None:
        """Take one request from what a known source may begin. Where that is used up datagrams are dropped, since they come
        again; a connection has nothing lost on it, so that the other side waits for an answer and gets a busy one."""
        # A datagram's source can be forged: what is sent in a carrier's name must not use up what its streams may.
        if self._requests.take(f"{'udp' if peer.transport == 'udp' else ''}|{source_of(peer.host)}", now):
            return verdict
        self.counters["throttled"] += 1
        return replace(verdict, busy=True) if peer.reliable else None

    def cuts(self, data: bytes, peer: Peer) -> bool:
        """Whether a connection whose message did not pass is closed: a stranger's, for a request.

        Not a trunk's, by which others may call; not one that may belong to a call in progress; and for no late answer.
        """
        if not peer.reliable or glance(data).response or self.verdict(peer).known:
            return False
        return not self.opened(peer) and not self._held.points_to(peer.host)

    def in_call(self, tag: str) -> bool:
        """Whether a call has this tag of ours."""
        return tag != "" and self._held.in_call(tag)

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
