"""Pure decisions about trunks: what was typed in, what goes to the phone, how one stands."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nightbell.sip.trunk import DIALLED, BadTrunk, Dialled, Kind, Trunk, network

KNOWN = ("MD5", "SHA-256", "SHA-512-256")  # digest algorithms that sip.digest has
MOST_PASSWORD = 128
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


def checked_password(text: str) -> str:
    """Raises BadTrunk."""
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


def about(domain: str, proxy: str, sources: list[str], transport: str) -> str:
    """A trunk in words, for people; `covers` is what a machine compares."""
    where = proxy or domain or ", ".join(sources[:4]) or "by certificate"
    return f"{where} by {transport.upper()}"[:200]


def covers(kind: str, domain: str, proxy: str, transport: str, sources: Iterable[str], peer_name: str) -> str:
    """What a risk is accepted for: SHA-256, as hex, of all that decides who may call and how. When it changes, the
    acceptance is for something else."""
    parts = [kind, domain, proxy, transport, sorted(set(sources)), peer_name]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def other_realm(known: str, state: Mapping[str, Any]) -> str:
    """The realm that the carrier asks in the name of, when it is not the one on record; else ''."""
    said = str(state.get("realm", ""))
    return said if known and said and said != known else ""
