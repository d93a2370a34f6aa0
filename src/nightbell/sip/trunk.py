"""A trunk: one way to the phone network, as the worker describes it to the phone in the routing snapshot.

entry = the fields of Trunk; "ha1" = {digest algorithm: hex}, never a password
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from nightbell.core.errors import NightbellError

MAX_SOURCES = 256
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_USER = re.compile(r"[A-Za-z0-9.+_~!*'()%-]{0,64}\Z")
_ID = re.compile(r"[0-9A-Za-z]{1,40}\Z")
_HA1 = re.compile(r"[0-9a-f]{32,128}\Z")


class BadTrunk(NightbellError, ValueError):
    """A trunk cannot be as described. `field`: which part of it."""

    def __init__(self, field: str, why: str, mend: str = "") -> None:
        self.field = field
        super().__init__(f"The trunk's {field}", why, mend)


class Kind(StrEnum):
    """How we and the carrier know each other."""

    REGISTER = "register"  # we register with a name and a password (RFC 3261 §10), calls come back that way
    ADDRESS = "address"  # by the carrier's addresses
    CERTIFICATE = "certificate"  # by the name in its TLS client certificate


class Dialled(StrEnum):
    """Where the number that the patient first dialled is looked for; the first that is one of ours counts."""

    HISTORY = "history"  # History-Info (RFC 7044)
    DIVERSION = "diversion"  # Diversion (RFC 5806)
    CALLED = "called"  # P-Called-Party-ID (RFC 7315)
    TO = "to"
    REQUEST = "request"  # the Request-URI


DIALLED = tuple(Dialled)


@dataclass(frozen=True, slots=True)
class Trunk:
    """id: ULID. domain: the carrier's, of registrar and From. proxy: 'host' (found by NAPTR, SRV, A, in this order, RFC 3263),
    'host:port', or '' for the domain. transport: 'tls', 'tcp' or 'udp'. realm and ha1: of digest, '' and empty before the
    carrier's first challenge told its realm. sources: addresses or networks that calls come from beside what proxy and domain
    resolve to. peer_name: in the client certificate. plain: unencrypted signalling and sound are allowed, which somebody has
    accepted as a risk on record. expires, keep_alive: seconds (0: no OPTIONS). dialled: in which order.
    """

    id: str
    name: str
    kind: Kind
    domain: str = ""
    proxy: str = ""
    transport: str = "tls"
    user: str = ""
    realm: str = ""
    ha1: Mapping[str, str] = field(default_factory=dict, repr=False)
    sources: tuple[str, ...] = ()
    peer_name: str = ""
    plain: bool = False
    expires: int = 600
    keep_alive: int = 30
    dialled: tuple[Dialled, ...] = DIALLED

    def __post_init__(self) -> None:
        self._check_names()
        if self.transport not in ("tls", "tcp", "udp"):
            raise BadTrunk("transport", f"{self.transport[:20]!r} is none", "choose tls, tcp or udp")
        if self.transport != "tls" and not self.plain:
            raise BadTrunk("transport", "only TLS is encrypted", "choose tls, or accept the risk on record")
        if len(self.sources) > MAX_SOURCES:
            raise BadTrunk("sources", f"there are more than {MAX_SOURCES}", "name networks, not addresses")
        for source in self.sources:
            network(source)
        if not 60 <= self.expires <= 86_400:
            raise BadTrunk("expires", f"{self.expires} s is out of range", "use 60 to 86400")
        if self.keep_alive and not 10 <= self.keep_alive <= 3_600:
            raise BadTrunk("keep-alive", f"{self.keep_alive} s is out of range", "use 10 to 3600, or 0")
        if not self.dialled or len(set(self.dialled)) != len(self.dialled):
            raise BadTrunk("dialled", "a place to look is missing or named twice", "name each place once")

    def _check_names(self) -> None:
        if (
            not _ID.match(self.id)
            or not self.name.strip()
            or len(self.name) > 60
            or not self.name.isprintable()
        ):
            raise BadTrunk("name", "it is empty, too long or cannot be printed", "use 1 to 60 characters")
        for label, value in (("domain", self.domain), ("certificate name", self.peer_name)):
            if value and not _NAME.match(value):
                raise BadTrunk(label, f"{value[:60]!r} is not a host name", "write it as sip.carrier.example")
        if self.proxy:
            host_port(self.proxy)
        if not _USER.match(self.user):
            raise BadTrunk(
                "user", "it has characters that no SIP user has", "copy it from your carrier's page"
            )
        if not all(_HA1.match(value) for value in self.ha1.values()):
            raise BadTrunk("password", "its digest form is damaged", "type the password again")
        if self.kind is Kind.REGISTER and not (self.domain and self.user):
            raise BadTrunk(
                "user" if self.domain else "domain",
                "registering needs it",
                "copy it from your carrier's page",
            )
        if self.kind is Kind.ADDRESS and not (self.sources or self.domain or self.proxy):
            raise BadTrunk("sources", "there is no address", "copy them from your carrier's page")
        if self.kind is Kind.CERTIFICATE and not self.peer_name:
            raise BadTrunk("certificate name", "it is missing", "copy it from your carrier's page")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "sources": list(self.sources),
            "dialled": list(self.dialled),
            "ha1": dict(self.ha1),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Trunk:
        """Read an entry; fields that are not there have their defaults, others are passed over. Raises BadTrunk."""
        try:
            return Trunk(
                id=str(data["id"]), name=str(data["name"]), kind=Kind(data["kind"]),
                domain=str(data.get("domain", "")), proxy=str(data.get("proxy", "")),
                transport=str(data.get("transport", "tls")), user=str(data.get("user", "")),
                realm=str(data.get("realm", "")),
                ha1={str(key): str(value) for key, value in dict(data.get("ha1", {})).items()},
                sources=tuple(str(one) for one in data.get("sources", ())),
                peer_name=str(data.get("peer_name", "")), plain=data.get("plain") is True,
                expires=int(data.get("expires", 600)), keep_alive=int(data.get("keep_alive", 30)),
                dialled=tuple(Dialled(one) for one in data.get("dialled", DIALLED)),
            )  # fmt: skip
        except BadTrunk:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise BadTrunk("description", f"it is malformed ({type(error).__name__})") from error


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An address or a network as a network. Raises BadTrunk."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise BadTrunk(
            "sources", f"{text[:60]!r} is no address", "write 203.0.113.7 or 203.0.113.0/24"
        ) from error


def host_port(text: str) -> tuple[str, int]:
    """'host', 'host:port', '[v6]:port' or a bare v6 address; port 0 where none is named. Raises BadTrunk."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _NAME.match(host):
            raise BadTrunk("proxy", f"{text[:80]!r} is no host", "write sip.carrier.example:5061") from None
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise BadTrunk("proxy", f"{port[:10]!r} is no port", "write sip.carrier.example:5061")
    return host, int(port or 0)
