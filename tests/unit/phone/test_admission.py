"""How many unconfirmed calls an address may have."""

from __future__ import annotations

from nightbell.phone.admission import MAX_PROVEN, Admission


def test_an_address_has_its_share_and_others_theirs() -> None:
    admission = Admission(2, 3)
    for _ in range(2):
        assert admission.admits("192.0.2.1")
        admission.enter("192.0.2.1")
    assert not admission.admits("192.0.2.1")
    assert admission.admits("192.0.2.2")
    admission.leave("192.0.2.1")
    assert admission.admits("192.0.2.1")


def test_a_proven_address_has_more() -> None:
    admission = Admission(1, 2)
    admission.prove("192.0.2.1")
    admission.enter("192.0.2.1")
    assert admission.admits("192.0.2.1")
    admission.enter("192.0.2.1")
    assert not admission.admits("192.0.2.1")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    admission = Admission(1, 1)
    admission.enter("2001:db8::1")
    assert not admission.admits("2001:db8::2")
    assert admission.admits("2001:db8:0:1::1")
    admission.enter("fe80::1%eth0")
    assert not admission.admits("fe80::2%eth0")
    assert admission.admits("no:address")


def test_it_remembers_a_bounded_number() -> None:
    admission = Admission(0, 1)
    for number in range(MAX_PROVEN + 1):
        admission.prove(f"a{number}")
    assert not admission.admits("a0")
    assert admission.admits(f"a{MAX_PROVEN}")
    for number in range(5):
        admission.enter(f"b{number}")
        admission.leave(f"b{number}")
    assert not admission._waiting
