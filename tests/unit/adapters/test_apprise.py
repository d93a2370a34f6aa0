"""Other services: only those on a list, over HTTPS to a host of their own, with our words and nothing else."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
import requests

from nightbell.adapters.apprise import AppriseChannel
from nightbell.core.notice import ChannelError, NoticeKind, Notification
from nightbell.core.other_ways import SCHEMAS, problem
from nightbell.oncall.notifications import render

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it loads what the standard library is about to lose
    import apprise

    KNOWN = apprise.Apprise().details()["schemas"]

REFERENCE = "01JDE8Q4T0ABCDEFGHJKMNPQRS"
WORDS = render(Notification(NoticeKind.URGENT, "QX07", "t" * 22, "es"), "https://bell.example")
PUSHOVER = "pover://" + "u" * 30 + "@" + "a" * 30
GOOD = (
    f"{PUSHOVER}?priority=high",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "tgram://123456789:abcdefg_hijklmnop/12315544/",
)


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the library would have sent."""
    sent: list[tuple[str, dict[str, Any]]] = []

    def keep(_: requests.Session, method: str, url: str, **given: Any) -> requests.Response:
        sent.append((url, given))
        response = requests.Response()
        response.status_code, response._content = (
            200,
            b"ok" if "slack" in url else b'{"status": 1, "ok": true}',
        )
        return response

    monkeypatch.setattr(requests.Session, "request", keep)
    return sent


@pytest.mark.parametrize("address", GOOD)
def test_our_words_go_over_https_with_the_certificate_checked(
    posted: list[tuple[str, dict[str, Any]]], address: str
) -> None:
    receipt = AppriseChannel().send(WORDS, address, REFERENCE)
    assert posted and all(url.startswith("https://") for url, _ in posted)
    assert all(given["verify"] is True for _, given in posted)
    assert receipt.sent.decode() == f"{WORDS.subject}\n{WORDS.body.strip()}"
    assert "the practice's choice" in receipt.answer
    assert address.split("://")[1][:12] not in receipt.answer, "no secret of the service"


@pytest.mark.parametrize(
    "address",
    [
        "json://10.0.0.1/x", "jsons://10.0.0.1/x", "mailto://u:p@host", "gotify://host/token", "ntfys://host/topic",
        "syslog://", "dbus://", "file:///etc/passwd", "windows://", "exec://x", "https://hooks.slack.com/services/a",
        f"{PUSHOVER}?verify=no", f"{PUSHOVER}?cto=9999", f"{PUSHOVER}?format=html&title=Maria", f"{PUSHOVER}?%76erify=no",
        f"{PUSHOVER} ", "pover://", "", "slack", "pover://a@b\r\nX: y", "pover://é@b", "pover://" + "a" * 700,
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_is_refused(posted: list[tuple[str, dict[str, Any]]], address: str) -> None:
    with pytest.raises(ChannelError) as caught:
        AppriseChannel().send(WORDS, address, REFERENCE)
    assert caught.value.permanent and posted == []


def test_each_service_on_the_list_has_a_fixed_host_and_https() -> None:
    known: dict[str, dict[str, Any]] = {}
    for one in KNOWN:
        for name in one["secure_protocols"] or ():
            known[name] = one
    for name in sorted(SCHEMAS):
        tokens = known[name]["details"]["tokens"]
        assert not {"host", "port", "hostname"} & set(tokens), name
        assert name not in (known[name]["protocols"] or ()), name


def test_what_the_service_does_not_confirm_may_have_left(
    posted: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **given: Any) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "request", away)
    with pytest.raises(ChannelError) as caught:
        AppriseChannel().send(WORDS, GOOD[0], REFERENCE)
    assert caught.value.unsure and not caught.value.permanent


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ChannelError, match=r"nightbell\[apprise\]") as caught:
        AppriseChannel().send(WORDS, GOOD[0], REFERENCE)
    assert caught.value.permanent


def test_a_refusal_does_not_repeat_the_address() -> None:
    assert "hunter2" not in problem("json://hunter2@host") + problem("pover://hunter2?verify=no")
