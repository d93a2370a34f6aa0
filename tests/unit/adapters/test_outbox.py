"""The demo's outbox keeps exactly what would have been sent."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nightbell.adapters.outbox import OutboxChannel
from nightbell.core.notice import Channel, ChannelError, Rendered

REFERENCE = "01JDE8Q4T0ABCDEFGHJKMNPQRS"
WORDS = Rendered("Nightbell: urgent message", "A message is waiting.\nhttps://example.invalid/n/abc\n")


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 24, 3, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def test_it_leaves_the_exact_bytes_in_a_file_of_its_own(tmp_path: Path) -> None:
    channel: Channel = OutboxChannel(tmp_path / "outbox", StoppedClock())
    receipt = channel.send(WORDS, "alice@example.invalid", REFERENCE)
    (path,) = (tmp_path / "outbox").iterdir()
    assert path.name == f"{REFERENCE}.eml"
    assert path.read_bytes() == receipt.sent
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_writes_a_message_that_mail_programs_read(tmp_path: Path) -> None:
    sent = OutboxChannel(tmp_path, StoppedClock()).send(WORDS, "alice@example.invalid", REFERENCE).sent
    message = email.message_from_bytes(sent, policy=email.policy.default)
    assert message["To"] == "alice@example.invalid"
    assert message["Subject"] == WORDS.subject
    assert message["Date"] == "Tue, 24 Nov 2026 03:00:00 +0000"
    assert message["Message-ID"] == f"<{REFERENCE}@demo.invalid>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().replace("\r\n", "\n") == WORDS.body


def test_it_sends_once_per_reference(tmp_path: Path) -> None:
    channel = OutboxChannel(tmp_path, StoppedClock())
    first = channel.send(WORDS, "alice@example.invalid", REFERENCE)
    again = channel.send(Rendered("other", "other"), "bob@example.invalid", REFERENCE)
    assert again.sent == first.sent
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("address", "reference"),
    [
        ("alice@example.invalid", "../../etc/passwd"),
        ("alice@example.invalid", ""),
        ("alice@example.invalid\r\nBcc: eve@example.invalid", REFERENCE),
        ("alice", REFERENCE),
        ("", REFERENCE),
    ],
)
def test_it_refuses_what_must_not_reach_a_path_or_a_header(
    tmp_path: Path, address: str, reference: str
) -> None:
    with pytest.raises(ChannelError) as caught:
        OutboxChannel(tmp_path).send(WORDS, address, reference)
    assert caught.value.permanent
    assert list(tmp_path.iterdir()) == []


def test_it_may_be_tried_again_when_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file, not a folder")
    with pytest.raises(ChannelError) as caught:
        OutboxChannel(tmp_path / "outbox").send(WORDS, "alice@example.invalid", REFERENCE)
    assert not caught.value.permanent
