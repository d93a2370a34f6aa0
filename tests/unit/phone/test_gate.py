"""The gate and its pure parts: buckets, calls without a word, and the glance at a message."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.log import Log
from nightbell.phone.admission import MAX_BUCKETS, Buckets, Quiet
from nightbell.phone.gate import REMEMBERED, Gate
from nightbell.phone.policy import LOCAL, STRANGER, Policy
from nightbell.phone.streams import Limits, Peer
from nightbell.sip.glance import glance
from nightbell.sip.trunk import Kind, Trunk

TRUNK = Trunk("01A", "t", Kind.ADDRESS, sources=("203.0.113.0/24",), transport="udp", plain=True)
CARRIER, LOOPBACK, STRANGE = (
    Peer("udp", host, 5060) for host in ("203.0.113.9", "127.0.0.1", "198.51.100.1")
)


def request(method: str = "INVITE", branch: str = "z9hG4bKx", tag: str = "", agent: str = "") -> bytes:
    return (
        f"{method} sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:b@h>;tag=f\r\n"
        f"To: <sip:a@h>{f';tag={tag}' if tag else ''}\r\nUser-Agent: {agent}\r\n\r\n"
    ).encode()


class Held:
    """One call with the tag 'ours', one request of ours with the branch 'mine', one of theirs with 'theirs'."""

    def asked(self, branch: str) -> bool:
        return branch == "mine"

    def answering(self, method: str, branch: str) -> bool:
        return method == "INVITE" and branch == "theirs"

    def in_call(self, tag: str) -> bool:
        return tag == "ours"

    def points_to(self, host: str) -> bool:
        return host == "203.0.113.9"


def gate(policy: Policy | None = None, **limits: float) -> tuple[Gate, Counter[str], io.StringIO]:
    counters: Counter[str] = Counter()
    log = io.StringIO()
    bounds = Limits(**limits)  # type: ignore[arg-type]
    return Gate(policy or Policy([TRUNK]), bounds, counters, Log("test", log), Held()), counters, log


def test_strangers_get_nothing_and_are_told_of_once_a_minute_by_network() -> None:
    it, counters, log = gate()
    for now in (0.0, 1.0, 59.0, 61.0):
        assert it.passes(request(), STRANGE, now) is None
    assert counters["strangers"] == 4
    assert log.getvalue().count("sip_stranger") == 2
    assert "198.51.100.0/24" in log.getvalue() and "sip:" not in log.getvalue()


def test_a_stranger_who_knows_a_secret_of_ours_passes_and_one_who_knows_theirs_does_not() -> None:
    """A carrier may end a call from another machine than the one that rang."""
    it, counters, _ = gate()
    assert it.passes(request("BYE", tag="ours"), STRANGE, 0.0) == replace(STRANGER, exempt=True)
    answer = request().replace(b"INVITE sip:a@h SIP/2.0", b"SIP/2.0 200 OK")
    assert it.passes(answer.replace(b"z9hG4bKx", b"mine"), STRANGE, 0.0) == STRANGER
    assert it.passes(answer, STRANGE, 0.0) is None
    assert it.passes(request(branch="theirs"), STRANGE, 0.0) is None
    assert it.passes(request("BYE", tag="guessed"), STRANGE, 0.0) is None
    assert counters["strangers"] == 2 and counters["stray_responses"] == 1


def test_a_flood_is_cut_and_what_belongs_to_calls_is_not() -> None:
    it, counters, _ = gate(rate=10, burst=5)
    passed = [it.passes(request(branch=f"z9hG4bK{n}"), CARRIER, 0.0) is not None for n in range(9)]
    assert passed == [True] * 5 + [False] * 4
    assert counters["throttled"] == 4
    assert it.passes(request("BYE", tag="ours"), CARRIER, 0.0) is not None
    assert it.passes(request(branch="theirs"), CARRIER, 0.0) is not None
    assert it.passes(request("OPTIONS", branch="theirs"), CARRIER, 0.0) is None, "what is there is no OPTIONS"
    assert it.passes(request(), LOOPBACK, 0.0) == LOCAL, "one source's flood is not another's"
    assert it.passes(request(), CARRIER, 0.1) is not None, "a tenth of a second later there is one more"
    assert it.passes(request(), CARRIER, 0.1) is None


def test_datagrams_in_a_carriers_name_do_not_use_up_what_its_connections_may() -> None:
    it, _, _ = gate(rate=10, burst=5)
    for number in range(20):
        it.passes(request(branch=f"z9hG4bK{number}"), CARRIER, 0.0)
    assert it.passes(request(), CARRIER, 0.0) is None
    by_stream = CARRIER._replace(transport="tls", connection=1)
    verdicts = [it.passes(request(), by_stream, 0.0) for _ in range(7)]
    assert [one.busy for one in verdicts if one is not None] == [False] * 5 + [True] * 2


def test_where_only_certificates_tell_one_host_takes_a_part_of_what_there_is() -> None:
    certified = Trunk("01B", "t", Kind.CERTIFICATE, peer_name="sbc.carrier.example")
    it, _, _ = gate(Policy([TRUNK, certified]), rate=10, burst=100)
    assert sum(it.lets_in("198.51.100.1", True, 0.0) for _ in range(100)) == 10
    assert it.lets_in("198.51.100.2", True, 0.0) and it.lets_in("203.0.113.9", True, 0.0)
    it.names = lambda peer: ["sbc.carrier.example"]
    assert it.trusts(Peer("tls", "198.51.100.3", 1, 1), 0.0)
    for number in range(1, 90):
        it.lets_in(f"198.51.101.{number}", True, 0.0)
    assert not it.lets_in("198.51.102.1", True, 0.0), "too many strangers at once"
    assert it.lets_in("198.51.100.3", True, 0.0), "it has proved who it is before"
    assert it.lets_in("203.0.113.9", True, 0.0)


def test_a_connection_that_may_carry_calls_is_not_cut() -> None:
    it, _, _ = gate()
    stranger = Peer("tls", "198.51.100.1", 1, 1)
    assert not it.cuts(request(), Peer("tls", "203.0.113.9", 1, 1))
    assert not it.cuts(request(), Peer("tls", "203.0.113.10", 1, 1)), "a trunk's, without a call"
    assert it.cuts(request(), stranger) and not it.cuts(request(), STRANGE)
    assert not it.cuts(b"SIP/2.0 200 OK\r\n\r\n", stranger), "an answer that is late"
    it.opened = lambda peer: True
    assert not it.cuts(request(), stranger), "where a call of ours may go"


def test_known_scanners_are_silence_unless_a_trunk_calls_itself_so() -> None:
    it, counters, _ = gate()
    for agent in ("friendly-scanner", "VaxSIPUserAgent/3.1", "sipcli/v1.8", "SIPVicious 0.3"):
        assert it.passes(request(agent=agent), LOOPBACK, 0.0) is None
        assert it.passes(request(agent=agent), CARRIER, 0.0) is not None
    assert counters["scanners"] == 4
    assert it.passes(request(agent="Nightbell"), LOOPBACK, 0.0) is not None


def test_new_rules_count_at_once() -> None:
    it, _, _ = gate()
    assert it.passes(request(), CARRIER, 0.0) is not None
    it.take(Policy())
    assert it.passes(request(), CARRIER, 0.0) is None
    assert it.passes(request("BYE", tag="ours"), CARRIER, 0.0) is not None


def test_many_sources_take_bounded_memory() -> None:
    it, _, _ = gate()
    buckets = Buckets(1, 1)
    for number in range(REMEMBERED * 2):
        host = f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        it.passes(request(), Peer("udp", host, 1), 0.0)
        buckets.take(host, 0.0)
    assert len(it._verdicts) <= REMEMBERED and len(buckets._kept) <= MAX_BUCKETS
    assert len(it._told) <= 256


@given(st.lists(st.floats(0, 100), max_size=200), st.integers(1, 20), st.floats(0.1, 20))
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(
    steps: list[float], burst: int, rate: float
) -> None:
    buckets, now, given_out = Buckets(rate, burst), 0.0, 0
    for step in steps:
        now += step / 100
        given_out += buckets.take("a", now)
    assert given_out <= burst + rate * now + 1e-6
    assert given_out >= min(len(steps), burst)


def test_calls_without_a_word_are_bounded_by_number_and_trunk() -> None:
    quiet = Quiet(3, 5)
    for _ in range(3):
        assert quiet.admits("01A", "+15550100", 0.0)
        quiet.over("01A", "+15550100", False, 0.0)
    assert not quiet.admits("01A", "+15550100", 0.0)
    assert quiet.admits("01A", "+15550101", 0.0), "another patient"
    assert quiet.admits("01B", "+15550100", 0.0), "another trunk"
    assert quiet.admits("01A", "+15550100", 20.0), "a third of a minute later"


def test_whoever_has_spoken_or_has_no_number_is_never_refused() -> None:
    quiet = Quiet(2, 5)
    quiet.over("01A", "+15550100", True, 0.0)
    for _ in range(50):
        quiet.over("01A", "+15550100", False, 0.0)
        quiet.over("01A", "", False, 0.0)
    assert quiet.admits("01A", "+15550100", 0.0) and quiet.admits("01A", "", 0.0)


def test_this_machine_has_a_limit_of_its_own() -> None:
    quiet = Quiet(2, 4)
    quiet.over("", "127.0.0.1", True, 0.0)
    for _ in range(4):
        assert quiet.admits("", "127.0.0.1", 0.0)
        quiet.over("", "127.0.0.1", False, 0.0)
    assert not quiet.admits("", "127.0.0.1", 0.0)


def test_a_glance() -> None:
    it = glance(request("BYE", "z9hG4bKq", "t1"))
    assert (it.response, it.method, it.branch, it.to_tag) == (False, "BYE", "z9hG4bKq", "t1")
    short = glance(
        b"SIP/2.0 200 OK\r\nv: SIP/2.0/TLS h:5061 ; branch = x\r\nv:SIP/2.0/UDP a;rport;branch=b1;x\r\nt:<a>;tag=2\r\n\r\n"
    )
    assert (short.response, short.branch, short.to_tag) == (True, "b1", "2")
    assert glance(b"\x00\xff") == glance(b"") == (False, "", "", "", False)


@given(st.binary(max_size=300), st.integers(0, 40))
def test_a_glance_takes_anything(data: bytes, repeat: int) -> None:
    glance(data)
    glance(b"INVITE x\r\nTo: " + data * repeat)
