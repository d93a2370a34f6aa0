"""Web push against a push service that is as strict as the RFCs allow: nothing is in it, and it is us who sent it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fakes.fake_push import FakePush, running, unbase64
from tests.fakes.https_server import Quiet

from nightbell.adapters.outward import Outward
from nightbell.adapters.push import PushChannel, Vapid, load_or_make
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import Channel, ChannelError, NoticeKind, Notification, Rendered
from nightbell.oncall.notifications import render

REFERENCE = "01JDE8Q4T0ABCDEFGHJKMNPQRS"
SUBJECT = "mailto:it@practice.example"
WORDS = render(Notification(NoticeKind.URGENT, "QX07", "t" * 22), "https://bell.example")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakePush]:
    with running(tmp_path_factory.mktemp("push"), FakePush()) as push:
        yield push


@pytest.fixture
def push(server: FakePush) -> FakePush:
    for kept in (server.keys, server.answers, server.taken, server.refused, server.waiting):
        kept.clear()
    return server


@pytest.fixture
def vapid() -> Vapid:
    return Vapid(ec.generate_private_key(ec.SECP256R1()), SUBJECT)


def channel(push: FakePush, vapid: Vapid, seconds: float = 5.0) -> PushChannel:
    return PushChannel(vapid, Outward("the push service", private=True, ca_file=push.ca, seconds=seconds))


def failure(one: Channel, address: str, words: Rendered = WORDS) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        one.send(words, address, REFERENCE)
    return caught.value


def test_a_push_is_empty_and_signed_by_us(push: FakePush, vapid: Vapid) -> None:
    endpoint = push.subscribe("alice", vapid.public)
    receipt = channel(push, vapid).send(WORDS, endpoint, REFERENCE)
    (taken,) = push.taken
    assert push.refused == []
    assert taken["urgency"] == "high" and taken["content-length"] == "0" and int(taken["ttl"]) > 0
    assert set(taken) == {
        "host", "accept-encoding", "content-length", "ttl", "urgency", "topic", "authorization", "path",
    }, "no header beyond what the service needs"  # fmt: skip
    sent = receipt.sent.decode()
    assert sent.startswith("POST /push/alice HTTP/1.1\r\n") and sent.endswith("\r\n\r\n")
    assert "Authorization" not in sent, "what is kept for people to see is no credential"
    assert "t" * 22 not in str(taken), "nor does the service get the link"


def test_a_later_push_of_the_same_alert_takes_the_place_of_one_that_waits(
    push: FakePush, vapid: Vapid
) -> None:
    endpoint, one = push.subscribe("alice", vapid.public), channel(push, vapid)
    for token in ("a" * 22, "a" * 22, "b" * 22):
        one.send(
            render(Notification(NoticeKind.URGENT, "QX07", token), "https://b.example"), endpoint, REFERENCE
        )
    assert len(push.taken) == 3 and len(push.waiting) == 2


def test_what_can_wait_does_not_wake_a_phone(push: FakePush, vapid: Vapid) -> None:
    words = render(Notification(NoticeKind.WEEKLY, "QX07"), "https://bell.example")
    channel(push, vapid).send(words, push.subscribe("alice", vapid.public), REFERENCE)
    assert push.taken[0]["urgency"] == "normal"


@pytest.mark.parametrize(
    ("status", "headers", "permanent", "gone", "after"),
    [
        (404, {}, True, True, 0.0), (410, {}, True, True, 0.0), (400, {}, True, False, 0.0),
        (401, {}, True, False, 0.0), (403, {}, True, False, 0.0), (413, {}, True, False, 0.0),
        (429, {"Retry_After": "30"}, False, False, 30.0), (500, {}, False, False, 0.0),
        (503, {"Retry_After": "99999999"}, False, False, 3600.0), (429, {"Retry_After": "soon"}, False, False, 0.0),
        (302, {"Location": "https://10.0.0.1/"}, True, False, 0.0),
    ],
)  # fmt: skip
def test_it_tells_for_ever_from_later(
    push: FakePush,
    vapid: Vapid,
    status: int,
    headers: dict[str, str],
    permanent: bool,
    gone: bool,
    after: float,
) -> None:
    push.answers.append((status, headers))
    error = failure(channel(push, vapid), push.subscribe("alice", vapid.public))
    assert (error.permanent, error.gone, error.after_s, error.unsure) == (permanent, gone, after, False)
    assert "a text of the service" not in error.answer


def test_a_date_to_wait_for_is_understood(push: FakePush, vapid: Vapid) -> None:
    push.answers.append(
        (503, {"Retry_After": format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)})
    )
    assert 60 < failure(channel(push, vapid), push.subscribe("alice", vapid.public)).after_s <= 90


def test_a_subscription_that_ended_is_gone_and_another_key_is_refused(push: FakePush, vapid: Vapid) -> None:
    assert failure(channel(push, vapid), push.base + "/push/nobody").gone
    other = push.subscribe("bob", Vapid(ec.generate_private_key(ec.SECP256R1()), SUBJECT).public)
    error = failure(channel(push, vapid), other)
    assert error.permanent and not error.gone


def test_an_answer_that_never_comes_may_have_left(push: FakePush, vapid: Vapid) -> None:
    stop = threading.Event()

    def hang(_: Quiet) -> None:
        stop.wait(5)

    push.answers.append(hang)
    try:
        error = failure(channel(push, vapid, seconds=0.3), push.subscribe("alice", vapid.public))
    finally:
        stop.set()
    assert error.unsure and not error.permanent


def test_an_answer_that_comes_drop_by_drop_ends_too(push: FakePush, vapid: Vapid) -> None:
    """Each byte is in time; all of them are not."""
    stop, whole = threading.Event(), threading.Event()

    def drip(handler: Quiet) -> None:
        data = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nX: " + b"x" * 400 + b"\r\n\r\n"
        for at in range(len(data)):
            if stop.wait(0.02):
                return
            handler.wfile.write(data[at : at + 1])
        whole.set()

    push.answers.append(drip)
    try:
        error = failure(channel(push, vapid, seconds=0.5), push.subscribe("alice", vapid.public))
        assert error.unsure and not whole.is_set(), "nobody waited for the end"
    finally:
        stop.set()


def test_the_token_is_made_anew_before_it_is_too_old(vapid: Vapid) -> None:
    now = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)

    def expires(at: datetime) -> int:
        token = re.fullmatch(
            r"vapid t=[^.]+\.([^.]+)\.[^,]+, k=.+", vapid.authorization("https://p.example/x", at)
        )
        assert token is not None
        return int(json.loads(unbase64(token[1]))["exp"])

    first = expires(now)
    assert expires(now + timedelta(minutes=59)) == first
    assert expires(now + timedelta(hours=13)) > (now + timedelta(hours=13)).timestamp()
    assert expires(now - timedelta(days=365)) < now.timestamp(), "also when the clock jumped"


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path, found = tmp_path / "vapid.key", []
    threads = [
        threading.Thread(target=lambda: found.append(load_or_make(path).private_numbers())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["vapid.key"]
    path.write_text("no key")
    with pytest.raises(RefusedStart, match="vapid.key"):
        load_or_make(path)
