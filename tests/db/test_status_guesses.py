"""Who tries out numbers by the thousand learns nothing."""

from __future__ import annotations

from unittest import mock

from tests.db.test_status_line import LEFT, NUMBER, asked
from tests.factories import CALLER, House, make_message

from nightbell.audit.models import Event
from nightbell.mailbox import status
from nightbell.mailbox.status import NONE


def test_a_thousand_guesses_learn_nothing(house: House) -> None:
    """From one number, and from many: neither the answer nor the work done tells of a message."""
    make_message(house.mailbox, marks=LEFT)
    for caller in ("+12125550199", CALLER):
        with mock.patch.object(status.vault, "message_keys", wraps=status.vault.message_keys) as key:
            answers = {asked(house, f"503555{n:04d}", caller) for n in range(500) if n != 148}
        assert answers == {NONE}
        assert key.call_count == 5
    with mock.patch.object(status.vault, "message_keys", wraps=status.vault.message_keys) as key:
        answers = {asked(house, NUMBER, f"+1212555{n:04d}") for n in range(100)}
    assert answers == {NONE}
    assert key.call_count == 60 - 10, "ten of the practice's sixty were spent above"
    assert Event.objects.filter(action="status:ask", outcome="ok").count() == 0


def test_a_thousand_faked_caller_ids_do_not_try_out_all_numbers(house: House) -> None:
    make_message(house.mailbox, marks=LEFT)
    others = [f"503556{n:04d}" for n in range(1000)]
    with mock.patch.object(status.vault, "message_keys", wraps=status.vault.message_keys) as key:
        before = [asked(house, number, number).state for number in others[:299]]
        assert asked(house).ref, "a hit is given back"
        after = [
            asked(house, number, f"+1{number}").state for number in (*others[299:900], NUMBER, *others[900:])
        ]
    assert set(before + after) == {"none"}, "no number is found once three hundred were tried"
    assert key.call_count == 301
    assert asked(house) == NONE, "nor is the caller's own, until the hour is over"
    assert asked(house, hours=1.01).ref
