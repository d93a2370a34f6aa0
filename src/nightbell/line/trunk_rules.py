"""Pure decisions about trunks: what was typed in, what goes to the phone, how one stands."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nightbell.sip.trunk import DIALLED, BadTrunk, Dialled, Kind, Trunk, host_port, network

KNOWN = ("MD5", "SHA-256", "SHA-512-256")  # digest algorithms that sip.digest has
MOST_PASSWORD = 128
MOST_SHOWN = 3  # networks named in a sentence
_NUMBER = re.compile(r"(\A|\.)(\d+|0x[0-9a-f]*)\Z")
_THIS_MACHINE = ("127.0.0.1", "::1")
_AS_NAME = "write it as sip.carrier.example"
_NARROWEST = {4: 16, 6: 32}  # a wider network would let half the internet in


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody wants a trunk to be. password: '' keeps the one that is there. sources: as typed, with commas or
    blanks between."""

    name: str
    kind: str
    domain: str = ""
    proxy: str = ""
    transport: str = "tls"
    user: str = ""
    password: str = field(default="", repr=False)
    sources: str = ""
    peer_name: str = ""
    expires: int = 600
    keep_alive: int = 30
    dialled: tuple[str, ...] = tuple(DIALLED)
    preset: str = "other"


def kind_of(text: str) -> Kind:
    """Raises BadTrunk."""
    try:
        return Kind(text)
    except ValueError:
        raise BadTrunk("kind", "it is none of the three", "choose register, address or certificate") from None


def wanted(given: Given, id: str) -> Trunk:
    """The trunk as the phone would read it, were its risk accepted; what its kind does not use is left out.
    Raises BadTrunk with the field."""
    kind = kind_of(given.kind)
    registers = kind is Kind.REGISTER
    sources = tuple(dict.fromkeys(one for one in re.split(r"[\s,;]+", given.sources.strip()) if one))
    for one in sources:
        _narrow(one)
    try:
        dialled = tuple(Dialled(one) for one in given.dialled)
    except ValueError:
        raise BadTrunk("dialled", "a place to look is unknown", "choose from the list") from None
    return Trunk(
        id=id, name=" ".join(given.name.split()), kind=kind, domain=_host(given.domain), proxy=_host(given.proxy),
        transport=given.transport, user=given.user.strip() if registers else "", sources=sources,
        peer_name=_host(given.peer_name) if kind is Kind.CERTIFICATE else "", plain=given.transport != "tls",
        expires=given.expires, keep_alive=given.keep_alive, dialled=dialled,
    )  # fmt: skip


def _host(text: str) -> str:
    """As people copy it: with blanks, capitals, 'sip:' before or a full stop after."""
    return re.sub(r"\Asips?:", "", text.strip().lower()).removesuffix(".")


def _narrow(text: str) -> None:
    net = network(text)
    if net.prefixlen < _NARROWEST[net.version]:
        raise BadTrunk("sources", f"{text[:60]} is too wide a network", "name what your carrier publishes")
    if net.network_address.is_multicast or net.network_address == ipaddress.ip_address("0.0.0.0"):  # noqa: S104
        raise BadTrunk("sources", f"{text[:60]} is nobody's address", "name what your carrier publishes")


def check_new(one: Trunk) -> None:
    """What nobody may write anew, though a trunk of before may have it and goes on. Raises BadTrunk."""
    proxy = host_port(one.proxy)[0] if one.proxy else ""
    for label, host in (("domain", one.domain), ("proxy", proxy), ("certificate name", one.peer_name)):
        _host_at_all(label, host)
    for source in one.sources:
        if "%" in source:
            raise BadTrunk("sources", f"{source[:60]!r} has a scope", "use an address without one")
    there = [host for host in (proxy or one.domain, *one.sources) if host]
    if one.kind is Kind.ADDRESS and there and all(_of_this_machine(host) for host in there):
        where = "sources" if one.sources else "proxy" if one.proxy else "domain"
        raise BadTrunk(where, "that is this machine itself", "calls of this machine need no trunk")


def _host_at_all(label: str, host: str) -> None:
    """Beyond its characters, which sip.trunk looks at."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A name never ends in a number (RFC 3696 §2): resolvers read that as an address.
        if _NUMBER.search(host):
            raise BadTrunk(label, f"{host[:60]!r} is neither a name nor an address", _AS_NAME) from None
        return
    if "%" in host:
        raise BadTrunk(label, f"{host[:60]!r} has a scope", "use an address without one")
    if address.is_multicast or address.is_unspecified or host == "255.255.255.255":
        raise BadTrunk(label, f"{host[:60]!r} is nobody's address", _AS_NAME)


def _of_this_machine(text: str) -> bool:
    try:
        net = network(text)
    except BadTrunk:
        return text == "localhost"
    mapped = net.network_address.ipv4_mapped if isinstance(net, ipaddress.IPv6Network) else None
    address = str(mapped or net.network_address)
    return net.prefixlen == net.max_prefixlen and address in _THIS_MACHINE


def checked_password(text: str) -> str:
    """Raises BadTrunk."""
    if not text.strip():
        raise BadTrunk("password", "it is blank", "copy it again from your carrier's page")
    if len(text) > MOST_PASSWORD or not text.isprintable():
        raise BadTrunk(
            "password", "it is too long or cannot be printed", "copy it again from your carrier's page"
        )
    return text


def goes_elsewhere(before: tuple[str, str, str, str], new: Trunk) -> bool:
    """Whether a password would be shown to others than before, as a digest to guess at. before: user, domain, proxy,
    transport."""
    user, domain, proxy, transport = before
    if (user, domain, proxy) != (new.user, new.domain, new.proxy):
        return True
    return transport == "tls" and new.transport != "tls"


def offered(algorithms: object) -> list[str]:
    """Those of a challenge that we can answer, in our order."""
    named = {str(one).upper() for one in algorithms} if isinstance(algorithms, (list, tuple)) else set()
    return [one for one in KNOWN if one in named]


def about(
    domain: str, proxy: str, sources: Sequence[str], transport: str, peer_name: str, most: int | None = None
) -> str:
    """Where a trunk's calls come from, in words for people; `covers` is what a machine compares. most: so many networks
    are named at most, None for every one: what is put on record names them all."""
    named = ", ".join(sources[:most])
    if most is not None and len(sources) > most:
        named += f" and {len(sources) - most} more"
    holder = f"who has the certificate of {peer_name}" if peer_name else ""
    where = ", ".join(one for one in (proxy or domain, holder, named) if one)
    return f"{where} by {transport.upper()}"


def covers(kind: str, domain: str, proxy: str, transport: str, sources: Iterable[str], peer_name: str) -> str:
    """What a risk is accepted for: SHA-256, as hex, of all that decides who may call and how. When it changes, the
    acceptance is for something else."""
    parts = [kind, domain, proxy, transport, sorted(set(sources)), peer_name]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def other_realm(known: str, state: Mapping[str, Any]) -> str:
    """The realm that the carrier asks in the name of, when it is not the one on record; else ''."""
    said = str(state.get("realm", ""))
    return said if known and said and said != known else ""
