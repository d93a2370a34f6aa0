"""No address that somebody gives leads into the house, and no far side holds up another channel."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from nightbell.adapters.bounded import MOST_HANGING, BoundedChannel
from nightbell.adapters.outward import Outward
from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.core.outside import is_outside, push_problem

WORDS = Rendered("a", "b")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "2002:0a00:0001::1", "64:ff9b::a00:1", "240.0.0.1", "2001:db8::1", "", "no address",
    ],
)  # fmt: skip
def test_addresses_of_private_networks_are_known_in_every_dress(address: str) -> None:
    assert not is_outside(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_the_public_internet_is_outside(address: str) -> None:
    assert is_outside(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example/x", "https://user:pass@push.example/x", "https://", "ftp://push.example", "",
        "https://push.example:8080/x", "https://push.example:no/x", "https://push.example/a b",
        "https://push.example/\r\nX: y", "https://pu\u0455h.example/", "https://[::1/x",
    ],
)  # fmt: skip
def test_only_plain_https_addresses_are_gone_to(url: str) -> None:
    with pytest.raises(ChannelError) as caught:
        Outward("it").post(url, {}, b"")
    assert caught.value.permanent and not caught.value.unsure


Resolve = Callable[..., list[tuple[object, ...]]]


def names(*addresses: str) -> Resolve:
    def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    return found


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("1.1.1.1", "10.0.0.1"), ("169.254.169.254",)])
def test_a_name_that_stands_for_a_private_address_is_not_gone_to(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names(*addresses))
    with pytest.raises(ChannelError, match="private network") as caught:
        Outward("it").post("https://rebound.example/x", {}, b"")
    assert caught.value.permanent


def test_the_address_that_was_looked_at_is_the_one_that_is_gone_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look-up, which could say something else, does not happen."""
    asked: list[str] = []
    gone: list[object] = []

    def lookup(host: str, port: int, **more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return names("1.1.1.1" if len(asked) == 1 else "127.0.0.1")(host, port)

    def connect(_: socket.socket, address: object) -> None:
        gone.append(address)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(ChannelError, match="not reached"):
        Outward("it").post("https://rebound.example/x", {}, b"")
    assert (asked, gone) == (["rebound.example"], [("1.1.1.1", 443)])


def test_a_far_side_that_says_nothing_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ChannelError) as caught:
            Outward("it", private=True, seconds=0.2).post(f"https://127.0.0.1:{port}/", {}, b"")
    assert not caught.value.unsure, "there was no TLS yet, so nothing had left"


class Stuck:
    """A channel that does not come back until it is told to."""

    name = "stuck"

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), 0

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        self.begun += 1
        self.go.wait(20)
        return Receipt(b"", "late")


def test_a_channel_that_hangs_is_left_behind() -> None:
    inner = Stuck()
    channel = BoundedChannel(inner, seconds=0.05)
    for _ in range(MOST_HANGING):
        with pytest.raises(ChannelError) as caught:
            channel.send(WORDS, "a", "b")
        assert caught.value.unsure
    with pytest.raises(ChannelError, match="stuck") as caught:
        channel.send(WORDS, "a", "b")
    assert not caught.value.unsure and inner.begun == MOST_HANGING, "and no more threads pile up"
    inner.go.set()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert channel.send(WORDS, "a", "b").answer == "late"
            return
        except ChannelError:
            time.sleep(0.01)
    raise AssertionError("it never came back")


def test_an_error_of_the_channel_comes_through_as_it_is() -> None:
    class Broken:
        name = "broken"

        def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
            raise ChannelError("550 no", gone=True)

    with pytest.raises(ChannelError, match="550 no") as caught:
        BoundedChannel(Broken()).send(WORDS, "a", "b")
    assert caught.value.gone


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://10.0.0.5/", "https://[::1]/x", "https://[::1]:18943/x", "https://user:pw@push.example/", "https://a@b.example/",
        "https://push.example/\x00", "https://push.example/a b", "https://127.1/", "https://2130706433/", "https://0x7f.0x1/",
        "https://localhost/", "https://printer.local./", "https://printer/", "https://[fe80::1]/", "https://[::ffff:10.0.0.1]/",
        "https://push.example:8443/", "https://push.example:x/", "http://push.example/", "https:///x", "https://169.254.169.254/",
    ],
)  # fmt: skip
def test_an_endpoint_that_can_be_no_push_service_is_told_at_once(endpoint: str) -> None:
    assert push_problem(endpoint)


def test_the_push_services_there_are_and_one_in_the_house_where_that_is_set() -> None:
    for host in ("fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com", "8.8.8.8"):
        assert push_problem(f"https://{host}/send/abc:def-_") == ""
    assert push_problem("https://127.0.0.1:9443/x", private=True) == ""
    assert push_problem("https://me@127.0.0.1:9443/x", private=True)
