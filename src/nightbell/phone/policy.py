"""Who may talk to us, and how: which trunk a source is. Pure: no socket, no name is resolved here, no clock.

A known source is this machine (while the snapshot allows that), an address of a trunk, a certificate of a trunk, or a
trunk's own server at the other end of a connection that we opened. Everybody else gets no answer at all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nightbell.phone.streams import Peer
from nightbell.sip.trunk import Kind, Trunk, host_port, network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a source is. trunk: None for this machine; plain_allowed: signalling and sound may be unencrypted.

    Of one message: exempt: it seems to belong to what is there, so that it took nothing of what the source may begin;
    busy: the source has begun too much, and is told so.
    """

    known: bool = False
    trunk: Trunk | None = None
    plain_allowed: bool = False
    exempt: bool = False
    busy: bool = False


STRANGER = Verdict()
LOCAL = Verdict(known=True, plain_allowed=True)


class Policy:
    """The rules of one snapshot.

    local: this machine may call without a trunk and unencrypted; resolved: by trunk id, the addresses that its proxy and
    domain have now.
    """

    def __init__(
        self,
        trunks: Collection[Trunk] = (),
        local: bool = True,
        resolved: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.trunks, self.local = tuple(trunks), local
        self._servers = {trunk: frozenset(hosts) for trunk, hosts in (resolved or {}).items()}
        # By version and length of a network: what its addresses begin with.
        self._tables: dict[tuple[int, int], dict[int, list[Trunk]]] = {}
        self._certified = any(trunk.kind is Kind.CERTIFICATE for trunk in self.trunks)
        for trunk in self.trunks:
            texts = {*trunk.sources, *(resolved or {}).get(trunk.id, ()), *_literal(trunk)}
            for net in map(network, texts):
                table = self._tables.setdefault((net.version, net.prefixlen), {})
                table.setdefault(_begin(net.network_address, net.prefixlen), []).append(trunk)
        self._widths = sorted(self._tables, key=lambda key: -key[1])  # the narrowest first

    def door(self, host: str, encrypted: bool, own: bool = False) -> bool:
        """Whether a connection is taken at all. With a certificate to come, only that can tell."""
        if self._machine(host, own) or (encrypted and self._certified):
            return True
        return any(trunk.kind is not Kind.CERTIFICATE for trunk in self._by_address(host))

    def judge(
        self, peer: Peer, names: Collection[str] = (), own: bool = False, opened: bool = False
    ) -> Verdict:
        """What `peer` is.

        names: of its verified certificate; own: its address is one of this machine's; opened: we opened the connection.
        That alone proves nothing, since whoever calls can have us open one, by his Contact: see `_whom_we_asked`.
        Of several trunks that fit, the one that may speak in this way comes first, then the one with the narrowest network.
        """
        fit = [trunk for trunk in self._candidates(peer, names, opened) if trunk is not None]
        if fit:
            plain = peer.transport != "tls"
            best = next((trunk for trunk in fit if trunk.plain or not plain), fit[0])
            return Verdict(known=True, trunk=best, plain_allowed=best.plain)
        if self._machine(peer.host, own):
            return LOCAL
        return STRANGER

    def keeps(self, peer: Peer) -> bool:
        """Whether a connection that we opened to `peer` is a trunk's, to be kept for as long as it lives."""
        return self.judge(peer, opened=True).trunk is not None

    def _candidates(self, peer: Peer, names: Collection[str], opened: bool) -> list[Trunk]:
        near = self._by_address(peer.host)
        found = []
        for trunk in self.trunks:
            if trunk.kind is Kind.CERTIFICATE and trunk.peer_name in names and peer.transport == "tls":
                # Given as well, addresses narrow it down: the certificate alone is not enough then.
                found += [trunk] if not trunk.sources or trunk in near else []
        found += [trunk for trunk in near if trunk.kind is not Kind.CERTIFICATE]
        return found + (self._whom_we_asked(peer) if opened else [])

    def _whom_we_asked(self, peer: Peer) -> list[Trunk]:
        """Trunks whose server is at the other end of a connection that we opened: it has proved to be the one that we asked
        for, or its address is what we found ourselves under the trunk's name."""
        if peer.transport == "tls" and peer.name:
            return [trunk for trunk in self.trunks if peer.name in server_names(trunk)]
        return [trunk for trunk in self.trunks if peer.host in self._servers.get(trunk.id, ())]

    def _by_address(self, host: str) -> list[Trunk]:
        address = parsed(host)
        if address is None:
            return []
        found: dict[str, Trunk] = {}
        for (
            key
        ) in self._widths:  # few, however many networks there are: a flood from everywhere asks each time
            if key[0] == address.version:
                for trunk in self._tables[key].get(_begin(address, key[1]), ()):
                    found.setdefault(trunk.id, trunk)
        return list(found.values())

    def _machine(self, host: str, own: bool) -> bool:
        if not self.local:
            return False
        address = parsed(host)
        return own or (address is not None and address.is_loopback)


def _begin(address: Address, length: int) -> int:
    """The first `length` bits."""
    return int(address) >> (address.max_prefixlen - length)


def server_names(trunk: Trunk) -> tuple[str, ...]:
    """Whom the trunk's server may prove to be, the name that we ask for first: the proxy's, else the domain (RFC 5922 §4).

    A proxy that is given by its address is asked for the domain. Who is known by a certificate shows the same when we call.
    """
    proxy = host_port(trunk.proxy)[0] if trunk.proxy else ""
    names = [proxy, trunk.domain] if parsed(proxy) is None else [trunk.domain, proxy]
    if trunk.kind is Kind.CERTIFICATE:
        names.append(trunk.peer_name)
    return tuple(dict.fromkeys(name for name in names if name))


def parsed(host: str) -> Address | None:
    """An address, an IPv4 one in IPv6's clothes as what it is; None for a name or one with a scope."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def is_private(host: str) -> bool:
    """Whether an address is seen behind a NAT only: to all others the public one is shown."""
    address = parsed(host)
    return address is None or any(address.version == net.version and address in net for net in _PRIVATE)


def _literal(trunk: Trunk) -> list[str]:
    """Addresses that stand where a name could."""
    return [name for name in server_names(trunk) if parsed(name) is not None]
