"""Addresses of the public internet, and those that lie in the house. Pure: no name is looked up."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")  # a last label like this makes the whole an address of IPv4


def is_outside(address: str) -> bool:
    """Whether an address is one of the public internet, whatever it is wrapped in."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast and not found.is_reserved


def push_problem(endpoint: str, private: bool = False) -> str:
    """What is wrong with the endpoint of a push subscription, '' for nothing. private: it may lie in the house."""
    if not re.fullmatch(r"https://[!-~]{1,590}", endpoint):
        return "it is no address of a push service"
    try:
        parts = urlsplit(endpoint)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "its address cannot be read"
    if "@" in parts.netloc or "\\" in endpoint or not host:
        return "its address has a name or a password in it"
    if private:
        return ""
    if port not in (None, 443):
        return "its address names a port of its own"
    literal = ":" in host or _NUMBER.match(host.rpartition(".")[2])
    if not is_outside(host) if literal else ("." not in host or host.endswith((".localhost", ".local"))):
        return "its address lies in a private network"
    return ""
