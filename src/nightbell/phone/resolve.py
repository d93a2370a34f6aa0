"""Where a SIP domain's servers are (RFC 3263): NAPTR, then SRV, then addresses, in the order in which to try them.

What was found is kept for as long as it says, and used for a day longer while no name server answers, over a restart as
well (`remembered`): a line that works must not fall silent because DNS does. Files of the system are read when the resolver is made: later the process may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdata
import dns.resolver

from nightbell.core import clock
from nightbell.core.errors import TemporaryError
from nightbell.phone.policy import server_names
from nightbell.phone.streams import Peer
from nightbell.sip.trunk import Trunk, host_port

LIFETIME, WHOLE = 2.0, 8.0  # seconds for one question with all its servers, and for one domain
DEAF = (
    5.0  # seconds for which servers that let one question run out are asked nothing that we know from before
)
MOST_TARGETS, MOST_KEPT = 16, 512
SHORTEST, LONGEST, NEGATIVE = 5.0, 3_600.0, 30.0  # seconds that an answer is kept, whatever it says
STALE = 86_400.0
PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
_KINDS = ("NAPTR", "SRV", "A", "AAAA")
_SERVICES = {
    "udp": ("sip+d2u", "_sip._udp"),
    "tcp": ("sip+d2t", "_sip._tcp"),
    "tls": ("sips+d2t", "_sips._tcp"),
}


class Unresolved(TemporaryError):
    """A name has no address now."""

    def __init__(self, why: str) -> None:
        super().__init__("a carrier's name", why, "check the name, and the name servers in /etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class _Kept:
    fresh_until: float
    usable_until: float
    records: tuple[Any, ...]


class Resolver:
    """`targets` for whoever sends, `addresses` for whoever judges a source.

    servers: name servers' addresses, asked on `port`; none: only numeric addresses and `hosts` are known; now: seconds of a
    clock that only goes forward.
    """

    def __init__(
        self,
        servers: Collection[str] = (),
        port: int = 53,
        hosts: Mapping[str, tuple[str, ...]] | None = None,
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._dns = dns.asyncresolver.Resolver(configure=False)
        self._dns.nameservers, self._dns.port = list(servers), port
        self._dns.timeout = 1.0
        self._servers, self._now = bool(servers), now
        self._hosts = {"localhost": ("127.0.0.1", "::1"), **(hosts or {})}
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._deaf_until = 0.0
        self.families = {4, 6}  # in which we can send

    @staticmethod
    def system() -> Resolver:
        """With the name servers and the hosts of this machine."""
        found = dns.resolver.Resolver(configure=False)
        with contextlib.suppress(dns.exception.DNSException, OSError, ValueError):
            found.read_resolv_conf("/etc/resolv.conf")
        return Resolver([str(one) for one in found.nameservers], 53, _hosts(Path("/etc/hosts")))

    async def targets(self, host: str, port: int, transport: str) -> tuple[Peer, ...]:
        """Servers of a host or domain, best first. port: 0 when none is named. Raises Unresolved.

        For TLS each must prove to be `host`, whatever the DNS says its servers are called (RFC 5922 §4).
        """
        host = host.lower().rstrip(".")
        address = _address(host)
        if address and self._reachable(address):
            return (Peer(transport, address, port or PORTS[transport]),)
        name = host if transport == "tls" else ""
        try:
            async with asyncio.timeout(WHOLE):
                found = [
                    Peer(transport, address, at, 0, "", name)
                    for server, at in await self._servers_of(host, port, transport)
                    for address in await self._addresses(server)
                    if self._reachable(address)
                ]
        except TimeoutError as error:
            raise Unresolved("no name server answered in time") from error
        if not found:
            raise Unresolved("it has no address of a family in which we listen")
        return tuple(dict.fromkeys(found))[:MOST_TARGETS]

    def remembered(self, wall: float) -> list[list[Any]]:
        """What is still of use should no name server answer, for a file: name, kind, records as text, until when.

        wall: seconds since 1970, in which the file counts, since our own clock begins anew with the machine.
        """
        now = self._now()
        return [
            [name, kind, sorted(one.to_text() for one in kept.records), round(wall + kept.usable_until - now)]
            for (name, kind), kept in sorted(self._kept.items())
            if kept.usable_until > now
        ]

    def remember(self, entries: Iterable[Any], wall: float) -> None:
        """Take up what `remembered` gave before a restart: used only while nobody answers. Raises ValueError and others for
        what is not as it gave it."""
        now = self._now()
        for name, kind, texts, until in list(entries)[:MOST_KEPT]:
            left = min(float(until) - wall, STALE)
            if left > 0 and kind in _KINDS:
                records = tuple(
                    dns.rdata.from_text("IN", kind, str(text)) for text in texts[: 4 * MOST_TARGETS]
                )
                self._kept.setdefault((str(name), kind), _Kept(now, now + left, records))

    def _reachable(self, address: str) -> bool:
        return (6 if ":" in address else 4) in self.families

    async def addresses(self, trunk: Trunk) -> frozenset[str]:
        """Every address from which a trunk's own servers may speak. Raises Unresolved when there is none."""
        found: set[str] = set()
        failed: Unresolved | None = None
        for host, port in named(trunk):
            try:
                found |= {peer.host for peer in await self.targets(host, port, trunk.transport)}
                found |= set(await self._addresses(host))
            except Unresolved as error:
                failed = error
        if not found and failed is not None:
            raise failed
        return frozenset(found)

    async def _servers_of(self, host: str, port: int, transport: str) -> list[tuple[str, int]]:
        if port or host in self._hosts:
            return [(host, port or PORTS[transport])]
        service, prefix = _SERVICES[transport]
        question = f"{prefix}.{host}"
        for record in sorted(await self._ask(host, "NAPTR"), key=lambda one: (one.order, one.preference)):
            if record.service.decode("ascii", "replace").lower() == service and record.flags.lower() == b"s":
                question = str(record.replacement).rstrip(".").lower()
                break
        services = await self._ask(question, "SRV")
        if not services:
            return [(host, PORTS[transport])]
        return [
            (str(one.target).rstrip(".").lower(), one.port)
            for one in by_weight(services, secrets.randbelow)
            if one.target != dns.name.root and one.port  # "." is: there is no such service here (RFC 2782)
        ][:MOST_TARGETS]

    async def _addresses(self, host: str) -> list[str]:
        literal = _address(host)
        if literal or host in self._hosts:
            return [literal] if literal else list(self._hosts[host])
        old, new = await asyncio.gather(self._ask(host, "A"), self._ask(host, "AAAA"))
        return [str(one.address) for one in (*old, *new)]

    async def _ask(self, name: str, kind: str) -> list[Any]:
        """The records, none where there are none; of before where nobody answers. Raises Unresolved without those."""
        key, now = (name, kind), self._now()
        kept = self._kept.get(key)
        if kept is not None and now < max(kept.fresh_until, min(self._deaf_until, kept.usable_until)):
            return list(kept.records)
        records: tuple[Any, ...] = ()
        seconds = NEGATIVE
        try:
            if not self._servers:
                raise Unresolved("this machine has no name server")
            answer = await self._dns.resolve(dns.name.from_text(name), kind, lifetime=LIFETIME, search=False)
            records = tuple(answer)[: 4 * MOST_TARGETS]
            seconds = min(max(float(answer.ttl), SHORTEST), LONGEST)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            pass
        except (dns.exception.DNSException, OSError, ValueError, Unresolved) as error:
            if isinstance(error, dns.exception.Timeout):
                self._deaf_until = self._now() + DEAF
            if kept is None or now > kept.usable_until:
                raise Unresolved("no name server answers for it") from error
            self._kept[key] = _Kept(now + SHORTEST, kept.usable_until, kept.records)
            return list(kept.records)
        self._kept.pop(key, None)
        if len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(now + seconds, now + seconds + STALE, records)
        return list(records)


def by_weight(services: Iterable[Any], chance: Callable[[int], int]) -> list[Any]:
    """SRV records in the order in which to try them: by priority, and within one by lot, so that each comes first in
    proportion to its weight (RFC 2782). chance(n): a whole number below n, each as likely as the others."""
    left, ordered = sorted(services, key=lambda one: (one.priority, one.weight)), []
    while left:
        same = [one for one in left if one.priority == left[0].priority]
        mark, chosen = chance(sum(one.weight for one in same) + 1), same[0]
        for one in same:
            chosen = one
            mark -= one.weight
            if mark <= 0:
                break
        left.remove(chosen)
        ordered.append(chosen)
    return ordered


def named(trunk: Trunk) -> tuple[tuple[str, int], ...]:
    """Hosts and ports that a trunk names: its proxy, and its domain."""
    places = [host_port(trunk.proxy)] if trunk.proxy else []
    return (*places, *([(trunk.domain, 0)] if trunk.domain else []))


async def trunk_targets(resolver: Resolver, trunk: Trunk) -> tuple[Peer, ...]:
    """Where requests to a trunk go, best first: its proxy, else its domain. Raises Unresolved.

    For TLS each must prove to be what the installer typed: the proxy, which is our next hop (RFC 5922 §4), or the domain.
    """
    places = named(trunk)
    if not places:
        raise Unresolved("the trunk names neither a proxy nor a domain")
    host, port = places[0]
    found = await resolver.targets(host, port, trunk.transport)
    if trunk.transport != "tls":
        return found
    return tuple(peer._replace(name=server_names(trunk)[0]) for peer in found)


def _address(host: str) -> str:
    """The literal address that `host` is, without a scope; '' for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return "" if getattr(address, "scope_id", None) else str(address)


def _hosts(file: Path) -> dict[str, tuple[str, ...]]:
    """/etc/hosts as names with their addresses (hosts(5))."""
    found: dict[str, tuple[str, ...]] = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in file.read_text("utf-8").splitlines()[:1000]:
            words = line.partition("#")[0].lower().split()
            if len(words) > 1 and _address(words[0]):
                _remember(found, words[0], words[1:])
    return found


def _remember(found: dict[str, tuple[str, ...]], address: str, names: Iterable[str]) -> None:
    for name in names:
        found[name] = (*found.get(name, ()), address)
