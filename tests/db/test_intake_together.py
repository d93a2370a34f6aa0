"""Several captures at once: each becomes one message or none of it, whatever is wrong with its neighbours and whoever dies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from tests.db.test_got_worse import worse
from tests.factories import House, make_capture, make_message, tone

from nightbell.audit import service as audit
from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event
from nightbell.audit.verify import all_logs
from nightbell.core import faults
from nightbell.core.capture import Codec
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.mailbox import intake, playing, third
from nightbell.mailbox.intake_opening import Round, beginning
from nightbell.mailbox.models import Mailbox, Message
from nightbell.people.models import Practice
from nightbell.people.roles import Role
from nightbell.server.intake_order import SLOW_LATER, TOGETHER, Intake
from nightbell.store import vault
from nightbell.store.models import Job

PCM = tone(1.2)


class Died(BaseException):
    """As `kill -9` would: nothing of ours catches it."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A spool of this test alone; its tray is beside it."""
    (tmp_path / "spool").mkdir()
    yield tmp_path / "spool"


def captures(
    house: House | Mailbox, folder: Path, count: int, urgent: bool = True, **more: object
) -> list[Path]:
    """Each from a caller of its own."""
    return [
        make_capture(
            house.mailbox if isinstance(house, House) else house,
            folder=folder,
            urgent=urgent,
            pcm=PCM,
            **({"caller": f"+1503556{n:04}"} | more),  # type: ignore[arg-type]
        )
        for n in range(count)
    ]


def without_log() -> Mailbox:
    """Of a practice whose log cannot be written, so that nothing of it can be stored."""
    practice = Practice.objects.create(
        code="ZZ99", name="Without a log", zone="America/New_York", number="5035550999", created_at=utc_now()
    )
    return Mailbox.objects.create(practice=practice, name="Nurse line")


def damage(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    return bytes(data)


def order_of(folder: Path, told: list[intake.Taken]) -> Intake:
    return Intake(folder, told.append, None, None)  # type: ignore[arg-type]


def is_whole(folder: Path) -> bool:
    return all(log.ok for log in all_logs("https://bell.example", folder.parent))


def names(paths: Sequence[Path]) -> set[str]:
    return {path.stem for path in paths}


def test_one_that_is_damaged_is_set_aside_and_its_neighbours_become_messages(
    house: House, folder: Path
) -> None:
    paths = captures(house, folder, 5)
    data = damage(paths[2])
    problems: intake.Problems = {}
    taken = intake.take_in_all(paths, utc_now(), problems)
    assert problems == {}
    assert {one.capture: one.result for one in taken} == {
        path.stem: "unreadable" if path == paths[2] else "stored" for path in paths
    }
    assert set(Message.objects.values_list("pk", flat=True)) == names(paths) - {paths[2].stem}
    assert (folder.parent / "unreadable" / paths[2].name).read_bytes() == data
    assert list(folder.iterdir()) == []
    assert Job.objects.filter(kind="transcribe").count() == 4
    for path in (paths[0], paths[4]):
        sound = playing.sound(house.actor(Role.CLINICIAN), path.stem, 0, 10**6)
        assert len(sound.data) == 44 + len(PCM)
    assert is_whole(folder)


def test_one_whose_row_cannot_be_kept_waits_and_its_neighbours_become_messages(
    house: House, folder: Path
) -> None:
    mine, mailbox = captures(house, folder, 3), without_log()
    theirs = captures(mailbox, folder, 1)
    problems: intake.Problems = {}
    taken = intake.take_in_all([mine[0], theirs[0], *mine[1:]], utc_now(), problems)
    assert {one.capture for one in taken} == names(mine)
    assert {path: type(error) for path, error in problems.items()} == {theirs[0]: AuditClosed}
    assert list(folder.iterdir()) == theirs, "it is not lost"
    assert Event.objects.filter(action="message:received").count() == 3
    audit.open_log(mailbox.practice_id)
    again = intake.take_in_all(theirs, utc_now(), problems)
    assert [one.result for one in again] == ["stored"]
    assert Message.objects.count() == 4


def test_while_the_keys_are_away_all_of_them_wait(house: House, folder: Path) -> None:
    paths = captures(house, folder, 3)
    key = load().keys / "kek.key"
    away = key.rename(key.with_suffix(".away"))
    problems: intake.Problems = {}
    try:
        assert intake.take_in_all(paths, utc_now(), problems) == []
    finally:
        away.rename(key)
    assert {type(error) for error in problems.values()} == {vault.KeysAway}
    assert len(list(folder.iterdir())) == 3
    assert len(intake.take_in_all(paths, utc_now(), {})) == 3


def test_an_id_that_no_message_may_have_costs_its_neighbours_nothing(house: House, folder: Path) -> None:
    paths = captures(house, folder, 3)
    vault.keyring().put(paths[1].stem, "signer", bytes(32))
    problems: intake.Problems = {}
    assert {one.capture for one in intake.take_in_all(paths, utc_now(), problems)} == names(paths) - {
        paths[1].stem
    }
    assert {path: type(error) for path, error in problems.items()} == {paths[1]: ValueError}
    assert vault.keyring().get(paths[1].stem, "signer") == bytes(32)
    vault.keyring().destroy(paths[1].stem)


def test_one_whose_sound_cannot_be_written_waits_and_its_neighbours_become_messages(
    house: House, folder: Path
) -> None:
    paths = captures(house, folder, 3)
    in_the_way = load().blobs / house.practice.id / paths[1].stem[-2:]
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_bytes(b"")  # where its folder should be
    problems: intake.Problems = {}
    taken = intake.take_in_all(paths, utc_now(), problems)
    in_the_way.unlink()
    assert paths[1] in problems and isinstance(problems[paths[1]], OSError)
    assert {one.capture for one in taken} == names(paths) - names(list(problems))
    assert paths[1].exists() and not vault.keyring().has(paths[1].stem), (
        "nothing of it is there but the capture"
    )
    assert [one.result for one in intake.take_in_all([paths[1]], utc_now(), {})] == ["stored"]


def test_two_files_of_one_call_are_one_message(house: House, folder: Path) -> None:
    [path] = captures(house, folder, 1)
    copy = folder / "01AAAAAAAAAAAAAAAAAAAAAAAA.cap"
    copy.write_bytes(path.read_bytes())
    taken = intake.take_in_all([path, copy], utc_now(), {})
    assert [one.result for one in taken] == ["stored"]
    assert [one.result for one in intake.take_in_all([copy], utc_now(), {})] == ["tidied"]
    assert len(playing.sound(house.actor(Role.CLINICIAN), path.stem, 0, 10**6).data) == 44 + len(PCM)


POINTS = ("intake.blob", "intake.key", "intake.uncommitted", "intake.stored")


@pytest.mark.parametrize("point", POINTS)
def test_whoever_dies_with_several_in_hand_loses_and_doubles_none(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    paths = captures(house, folder, 3)

    def dies(name: str) -> None:
        if name == point:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(faults, "point", dies)
        with pytest.raises(Died):
            intake.take_in_all(paths, utc_now(), {})
    assert len(list(folder.iterdir())) == 3, "no capture goes before its message is there"
    stored = Message.objects.count()
    assert stored == (3 if point == "intake.stored" else 0)
    taken = intake.take_in_all(paths, utc_now(), {})
    assert {one.result for one in taken} == {"tidied" if stored else "stored"}
    assert set(Message.objects.values_list("pk", flat=True)) == names(paths)
    assert list(folder.iterdir()) == []
    assert Event.objects.filter(action="message:received").count() == 3
    for path in paths:
        assert len(playing.sound(house.actor(Role.CLINICIAN), path.stem, 0, 10**6).data) == 44 + len(PCM)
    assert is_whole(folder)


def test_the_third_call_counts_among_those_that_come_in_together(house: House, folder: Path) -> None:
    third._known.clear()
    paths = captures(house, folder, 4, caller="+15035560000")
    others = captures(house, folder, 2, caller="+15035560001")
    intake.take_in_all([*paths[:2], *others, *paths[2:]], utc_now(), {})
    marked = {row.pk for row in Message.objects.all() if third.TAG in row.tags}
    # Answered within the same instant, as good as: two of the four come after two others.
    assert marked < names(paths)
    assert len(marked) == 2
    late = captures(house, folder, 1, caller="+15035560001", urgent=False)
    intake.take_in_all(late, utc_now(), {})
    row = Message.objects.get(pk=late[0].stem)
    assert (third.TAG in row.tags, row.urgency, row.needs_alert) == (True, "urgent", True)


@pytest.mark.parametrize("joins", [False, True])
def test_messages_that_are_changed_with_it_are_locked_before_the_log(
    house: House, folder: Path, joins: bool
) -> None:
    """Who takes a message locks it, then the log: the other way round the two would wait for each other."""
    now, caller = utc_now(), "+15035560000"
    first = make_message(house.mailbox, caller=caller, answered_at=now - timedelta(minutes=9))
    # A call that is stored last and was answered before makes one of them the third.
    other = worse(house, first.id) if joins else make_message(house.mailbox, caller=caller, answered_at=now)
    changed = first.id if joins else other.id
    told = ((0, f"joins:{first.id}"), (0, "recording"), (0, "part:worse")) if joins else ()
    late = captures(house, folder, 1, caller=caller, marks=told, answered_at=now - timedelta(minutes=5))
    with CaptureQueriesContext(connection) as asked:
        intake.take_in_all(late, utc_now(), {})
    queries = [one["sql"] for one in asked.captured_queries]
    log = next(n for n, sql in enumerate(queries) if 'FROM "audit_log"' in sql)
    held = [sql for sql in queries[:log] if 'FROM "mailbox_message"' in sql and "ORDER BY" in sql]
    assert any(changed in sql and ('"joins_id" IN' in sql) == joins for sql in held)
    assert any(changed in sql or joins for sql in queries[log:] if sql.startswith('UPDATE "mailbox_message"'))


def test_one_that_says_that_it_got_worse_is_stored_after_what_came_with_it(
    house: House, folder: Path
) -> None:
    [first] = captures(house, folder, 1, urgent=False)
    intake.take_in_all([first], utc_now(), {})
    worse = make_capture(house.mailbox, folder=folder, pcm=PCM, marks=((0, f"joins:{first.stem}"),))
    beside = captures(house, folder, 2, caller="")
    problems: intake.Problems = {}
    taken = intake.take_in_all([worse, *beside], utc_now(), problems)
    assert problems == {}
    assert [one.capture for one in taken] == [beside[0].stem, beside[1].stem, worse.stem]
    row = Message.objects.get(pk=first.stem)
    assert (row.urgency, row.needs_alert) == ("urgent", True)
    assert Message.objects.get(pk=worse.stem).joins_id == first.stem


def test_a_handful_asks_the_database_little_more_than_one(house: House, folder: Path) -> None:
    one, many = captures(house, folder, 1), captures(house, folder, TOGETHER)
    with CaptureQueriesContext(connection) as alone:
        intake.take_in_all(one, utc_now(), {})
    with CaptureQueriesContext(connection) as together:
        assert len(intake.take_in_all(many, utc_now(), {})) == TOGETHER
    # A leaf of each, and the log that grows by it.
    assert len(together) <= len(alone) + 2 * TOGETHER


def test_callers_who_pressed_1_come_first_and_together(house: House, folder: Path) -> None:
    calm = captures(house, folder, 2, urgent=False)
    urgent = captures(house, folder, 3)
    damage(urgent[1])
    told: list[intake.Taken] = []
    order = order_of(folder, told)
    assert order.step()
    assert {one.capture for one in told} == names(urgent) - {urgent[1].stem}
    assert order.is_alerting(), "and words wait for a moment"
    assert not order.step(), "as do the others"
    order._urgent_at -= 1
    assert order.step() and len(told) == 3, "of those one at a time"
    while order.step():
        pass
    assert [one.capture for one in told[2:]] == sorted(names(calm) | {urgent[1].stem})
    assert {one.result for one in told if one.capture == urgent[1].stem} == {"unreadable"}


def test_no_handful_is_larger_than_memory_and_neighbours_allow(house: House, folder: Path) -> None:
    captures(house, folder, TOGETHER + 2)
    told: list[intake.Taken] = []
    order = order_of(folder, told)
    assert order.step() and len(told) == TOGETHER
    assert order.step() and len(told) == TOGETHER + 2


def test_one_that_cannot_be_taken_in_is_told_of_when_the_others_had_their_turn(
    house: House, folder: Path
) -> None:
    captures(house, folder, 2)
    stuck = captures(without_log(), folder, 1)
    told: list[intake.Taken] = []
    order = order_of(folder, told)
    assert order.step() and len(told) == 2
    with pytest.raises(AuditClosed):
        order.step()
    assert not order.step(), "it has stepped back"
    assert list(folder.iterdir()) == stuck


def test_what_needs_a_decoder_that_may_be_slow_holds_up_no_handful(house: House, folder: Path) -> None:
    wide = make_capture(house.mailbox, folder=folder, pcm=PCM, urgent=True, codec=Codec.G722)
    plain = captures(house, folder, 2)
    begins = {path.stem: beginning(path, Round()) for path in (wide, *plain)}
    assert {name: one.quick for name, one in begins.items() if one} == {
        path.stem: path != wide for path in (wide, *plain)
    }
    told: list[intake.Taken] = []
    order = order_of(folder, told)
    assert list(order._groups(order._in_order([wide, *plain]))) == [plain, [wide]]
    order._begins[wide.stem] = (order._begins[wide.stem][0], -SLOW_LATER)
    assert list(order._groups(order._in_order([wide, *plain]))) == [[wide], plain], "but not for ever"
