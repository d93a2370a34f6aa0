"""Who may talk to us: pure rules."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.phone.policy import LOCAL, STRANGER, Policy, is_private, server_names
from nightbell.phone.streams import Peer
from nightbell.sip.trunk import Kind, Trunk

NETWORK = Trunk("01A", "by address", Kind.ADDRESS, sources=("203.0.113.0/24", "2001:db8:5::/48"))
NARROW = Trunk("01B", "narrow", Kind.ADDRESS, sources=("203.0.113.7",))
PLAIN = Trunk("01C", "plain", Kind.ADDRESS, sources=("203.0.113.0/24",), transport="udp", plain=True)
DOMAIN = Trunk("01D", "by name", Kind.REGISTER, domain="carrier.example", user="u1")
CERTIFIED = Trunk("01E", "by certificate", Kind.CERTIFICATE, peer_name="sbc.carrier.example")
BOTH = Trunk(
    "01F", "certificate and network", Kind.CERTIFICATE, peer_name="sbc.carrier.example", sources=("192.0.2.0/24",)
)  # fmt: skip


def tls(host: str, connection: int = 1, name: str = "") -> Peer:
    return Peer("tls", host, 40000, connection, "", name)


def udp(host: str) -> Peer:
    return Peer("udp", host, 5060)


def test_this_machine_may_call_plainly_while_the_snapshot_says_so() -> None:
    for host in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        assert Policy().judge(udp(host)) == LOCAL
        assert Policy(local=False).judge(udp(host)) == STRANGER
        assert not Policy(local=False).door(host, False)
    assert Policy().judge(udp("10.0.0.5"), own=True) == LOCAL
    assert Policy(local=False).judge(udp("10.0.0.5"), own=True) == STRANGER


def test_a_trunk_is_known_by_its_networks_and_names() -> None:
    policy = Policy([NETWORK, DOMAIN], resolved={"01D": ["198.51.100.4", "2001:db8::4"]})
    for host, trunk in (
        ("203.0.113.200", NETWORK), ("2001:db8:5::1", NETWORK), ("198.51.100.4", DOMAIN), ("2001:db8::4", DOMAIN),
        ("::ffff:203.0.113.9", NETWORK),
    ):  # fmt: skip
        assert policy.judge(tls(host)).trunk is trunk
        assert policy.door(host, True) and policy.door(host, False)
    for host in ("203.0.114.1", "198.51.100.5", "8.8.8.8", "fe80::1%eth0", "nonsense", ""):
        assert policy.judge(tls(host)) == STRANGER
        assert not policy.door(host, True)


def test_a_loopback_address_of_a_trunk_is_the_trunks() -> None:
    here = Trunk("01G", "a carrier beside us", Kind.ADDRESS, sources=("127.0.0.9",))
    assert Policy([here]).judge(udp("127.0.0.9")).trunk is here
    assert Policy([here]).judge(udp("127.0.0.1")) == LOCAL


def test_unencrypted_is_a_matter_of_the_trunk() -> None:
    assert not Policy([NETWORK]).judge(udp("203.0.113.7")).plain_allowed
    assert Policy([PLAIN]).judge(udp("203.0.113.7")).plain_allowed
    # Of two that share their network, the one that may speak in this way is meant.
    both = Policy([NETWORK, PLAIN])
    assert both.judge(udp("203.0.113.7")).trunk is PLAIN
    assert both.judge(tls("203.0.113.7")).trunk is NETWORK


def test_the_narrowest_network_wins() -> None:
    assert Policy([NETWORK, NARROW]).judge(tls("203.0.113.7")).trunk is NARROW
    assert Policy([NETWORK, NARROW]).judge(tls("203.0.113.8")).trunk is NETWORK


def test_a_certificate_trunk_is_known_by_its_certificate_alone() -> None:
    policy = Policy([CERTIFIED])
    assert policy.door("8.8.8.8", encrypted=True) and not policy.door("8.8.8.8", encrypted=False)
    assert policy.judge(tls("8.8.8.8"), ["sbc.carrier.example"]).trunk is CERTIFIED
    for names in ([], ["carrier.example"], ["*.carrier.example"], ["x.sbc.carrier.example"]):
        assert policy.judge(tls("8.8.8.8"), names) == STRANGER
    assert policy.judge(udp("8.8.8.8"), ["sbc.carrier.example"]) == STRANGER


def test_addresses_narrow_a_certificate_down() -> None:
    policy = Policy([BOTH])
    assert policy.judge(tls("192.0.2.9"), ["sbc.carrier.example"]).trunk is BOTH
    assert policy.judge(tls("192.0.2.9")) == STRANGER
    assert policy.judge(tls("8.8.8.8"), ["sbc.carrier.example"]) == STRANGER


def test_whom_we_called_may_answer() -> None:
    policy = Policy([DOMAIN])
    assert policy.judge(tls("8.8.8.8", name="carrier.example"), opened=True).trunk is DOMAIN
    assert policy.judge(tls("8.8.8.8", name="carrier.example")) == STRANGER
    assert policy.judge(tls("8.8.8.8"), opened=True) == STRANGER
    plain = Peer("tcp", "8.8.8.8", 5060, 1, "", "carrier.example")
    assert policy.judge(plain, opened=True) == STRANGER, "nothing proves the name"
    assert policy.keeps(tls("8.8.8.8", name="carrier.example")) and not policy.keeps(tls("8.8.8.8"))


def test_a_trunk_by_certificate_is_known_where_we_called_it() -> None:
    there = replace(CERTIFIED, domain="carrier.example", transport="tcp", plain=True)
    policy = Policy([there], resolved={there.id: ["198.51.100.4"]})
    assert policy.judge(Peer("tcp", "198.51.100.4", 5060, 1), opened=True).trunk is there
    assert policy.judge(Peer("tcp", "198.51.100.4", 5060, 1)) == STRANGER
    assert policy.judge(Peer("tcp", "198.51.100.5", 5060, 1), opened=True) == STRANGER
    assert server_names(CERTIFIED) == ("sbc.carrier.example",)
    assert server_names(there) == ("carrier.example", "sbc.carrier.example")
    assert (
        Policy([CERTIFIED]).judge(tls("8.8.8.8", name="sbc.carrier.example"), opened=True).trunk is CERTIFIED
    )


@pytest.mark.parametrize(
    ("host", "private"),
    [("10.1.2.3", True), ("172.16.0.1", True), ("192.168.9.9", True), ("127.0.0.1", True), ("fd00::1", True),
     ("fe80::1", True), ("100.64.0.1", True), ("172.32.0.1", False), ("203.0.113.1", False), ("2001:db8::1", False),
     ("::ffff:10.0.0.1", True)],
)  # fmt: skip
def test_which_addresses_are_behind_a_nat(host: str, private: bool) -> None:
    assert is_private(host) is private


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@given(
    st.lists(ADDRESSES, max_size=4), ADDRESSES, st.booleans(), st.sampled_from(["udp", "tcp", "tls"]),
    st.lists(st.sampled_from(["sbc.carrier.example", "x"]), max_size=2),
)  # fmt: skip
def test_nobody_is_known_without_a_reason(
    sources: list[str], host: str, local: bool, transport: str, names: list[str]
) -> None:
    trunks = [Trunk("01A", "t", Kind.ADDRESS, sources=(one,)) for one in sources[:1]]
    policy = Policy([*trunks, CERTIFIED], local, {"01A": sources})
    verdict = policy.judge(Peer(transport, host, 5060), names)
    loopback = ipaddress.ip_address(host).is_loopback
    mapped = getattr(ipaddress.ip_address(host), "ipv4_mapped", None)
    if mapped is not None:
        loopback = mapped.is_loopback
    reasons = (
        (local and loopback)
        or (bool(trunks) and host in sources)
        or (transport == "tls" and "sbc.carrier.example" in names)
    )
    if verdict.known:
        assert reasons or mapped is not None
        assert policy.door(host, transport == "tls"), "known, and yet never let in"
    elif mapped is None:
        assert not reasons
    if verdict.plain_allowed:
        assert verdict == LOCAL
