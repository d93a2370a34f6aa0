"""Messages of another voicemail: read in every format, taken once, sealed, and nobody is woken."""

from __future__ import annotations

import io
import json
import os
import shutil
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st
from tests.db.oncall.test_alerts import route
from tests.factories import House, make_message, tone

from nightbell.audit.models import Event
from nightbell.core.capture import Codec
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Word
from nightbell.line.importing import asterisk, fusionpbx, service
from nightbell.line.importing.found import BadImport, Damaged, look
from nightbell.mailbox import epochs, playing, transcribe
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, State
from nightbell.oncall import escalation
from nightbell.people.roles import Role
from nightbell.phone import encode
from nightbell.server import cli, import_admin, wiring
from nightbell.sip import g711
from nightbell.store.models import Job

LEFT = 1_690_000_000  # in July 2023
TEXT = """;
; Message Information file
;
[message]
origmailbox=100
context=macro-vm
exten=s-NOANSWER
rdnis=unknown
priority=2
callerchan=PJSIP/trunk-00000041
callerid="Mrs Example" <5035550148>
origdate=Sat Jul 22 04:26:40 AM UTC 2023
origtime={at}
category=
msg_id={at}-00000001
flag={flag}
duration=2
"""


def wav(pcm: bytes, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return out.getvalue()


def gsm(pcm: bytes, container: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.frombuffer(pcm, np.int16), 8000, format=container, subtype="GSM610")
    return out.getvalue()


def left(
    folder: Path, number: int, sound: dict[str, bytes], at: int = LEFT, flag: str = "", text: str = TEXT
) -> None:
    """One message as Asterisk leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"msg{number:04}.txt").write_text(text.format(at=at, flag=flag))
    for suffix, data in sound.items():
        (folder / f"msg{number:04}.{suffix}").write_bytes(data)


def take(root: Path, house: House, **options: object) -> service.Report:
    if epochs.current() is None:
        epochs.begin(utc_now(), "system:test")
    load().spool.mkdir(parents=True, exist_ok=True)
    into = service.Into(house.mailbox, load().spool, wiring.decoder(load()), wiring.unpacker())
    return service.run(root, into, "os:tester", utc_now(), **options)  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()
    }


def likeness(house: House, message: Message, sent: bytes) -> float:
    """Correlation of what a clinician hears with what was left."""
    data = playing.sound(house.actor(Role.CLINICIAN), message.id, 0, 10**7).data[44:]
    heard, there = (np.frombuffer(one, np.int16).astype(float) for one in (data, sent))
    if len(heard) == 2 * len(there):  # wideband codecs are kept at 16 kHz
        heard = heard[::2]
    count = min(len(heard), len(there))
    assert count > 0.95 * len(there)
    lag = max(range(40), key=lambda by: float(np.dot(heard[by:count], there[: count - by])))
    return float(np.corrcoef(heard[lag:count], there[: count - lag])[0, 1])


def test_each_format_is_heard_as_it_was_left(house: House, tmp_path: Path) -> None:
    pcm = {name: tone(2.0, 300.0 + 40 * at) for at, name in enumerate(
        ["wav", "WAV", "gsm", "ulaw", "alaw", "sln", "g722"])}  # fmt: skip
    sounds = {
        "wav": wav(pcm["wav"]),
        "WAV": gsm(pcm["WAV"], "WAV"),
        "gsm": gsm(pcm["gsm"], "RAW"),
        "ulaw": g711.encode(pcm["ulaw"], Codec.PCMU),
        "alaw": g711.encode(pcm["alaw"], Codec.PCMA),
        "sln": pcm["sln"],
        "g722": b"".join(encode.frames(pcm["g722"], Codec.G722)),
    }
    for number, (suffix, data) in enumerate(sounds.items()):
        left(tmp_path / "default" / "100" / "INBOX", number, {suffix: data}, LEFT + number * 3600)
    before = contents(tmp_path)
    report = take(tmp_path, house)
    assert (report.kind, report.counts) == (
        "asterisk", {"imported": 7, "again": 0, "damaged": 0, "skipped": 0},
    )  # fmt: skip
    for number, suffix in enumerate(sounds):
        message = Message.objects.get(received_at=datetime.fromtimestamp(LEFT + number * 3600, UTC))
        assert (message.kind, message.state, message.urgency) == ("message", State.NEW, "routine")
        assert "imported" in message.tags
        assert likeness(house, message, pcm[suffix]) > 0.98, suffix
        assert mailbox.message(house.actor(Role.CLINICIAN), message.id).row.callback_number == "5035550148"
    assert contents(tmp_path) == before
    assert list(load().spool.glob("*.cap")) == []


def test_a_second_run_imports_nothing_twice_even_after_files_were_renumbered_and_heard(
    house: House, tmp_path: Path
) -> None:
    inbox, old = tmp_path / "INBOX", tmp_path / "Old"
    left(inbox, 0, {"wav": wav(tone(2.0))})
    left(inbox, 1, {"wav": wav(tone(2.0))}, LEFT + 60)
    assert take(tmp_path, house).counts["imported"] == 2
    assert take(tmp_path, house).counts == {"imported": 0, "again": 2, "damaged": 0, "skipped": 0}
    old.mkdir()
    for suffix in ("txt", "wav"):
        (inbox / f"msg0000.{suffix}").rename(old / f"msg0007.{suffix}")
        (inbox / f"msg0001.{suffix}").rename(inbox / f"msg0000.{suffix}")
    assert take(tmp_path, house).counts == {"imported": 0, "again": 2, "damaged": 0, "skipped": 0}
    assert Message.objects.count() == 2
    gone = Message.objects.order_by("id").first()
    assert gone is not None
    Message.objects.filter(pk=gone.pk).update(state=State.DISPOSED)
    assert take(tmp_path, house).counts["again"] == 2  # what was disposed of does not come back


class Alarming:
    """A recogniser that hears the worst in everything."""

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        words = ["i", "have", "chest", "pain", "and", "cannot", "breathe", "please", "call"]
        return Hearing("en", tuple(Word(one, n, n + 0.5, 0.99) for n, one in enumerate(words)), "test")

    def warm(self) -> None: ...


def test_nobody_is_woken_by_what_is_imported(house: House, tmp_path: Path) -> None:
    for number in range(3):  # three calls of one caller in twenty minutes
        left(tmp_path / "INBOX", number, {"wav": wav(tone(2.0))}, LEFT + number * 60, "Urgent")
    left(tmp_path / "Old", 0, {"wav": wav(tone(2.0))}, LEFT - 86_400)
    report = take(tmp_path, house)
    assert report.waiting == 3
    assert any("wakes nobody" in line for line in import_admin.told(report))
    urgencies = list(Message.objects.order_by("id").values_list("state", "urgency", "needs_alert"))
    assert urgencies == [("closed", "routine", False), *[("new", "review", False)] * 3]
    tonight = make_message(house.mailbox, caller="+15035550177")
    log, kept = Log("test", io.StringIO()), []
    while transcribe.run_one(Alarming(), utc_now, log):
        kept.append(Job.objects.filter(ended_at__isnull=False).order_by("-ended_at").values_list("key")[0][0])
    assert kept[0] == tonight.id  # tonight's call does not wait behind the backlog
    assert len(kept) == 5
    imported = Message.objects.exclude(pk=tonight.id)
    assert set(imported.values_list("urgency", "needs_alert")) == {("review", False)}
    assert Message.objects.get(pk=tonight.id).needs_alert
    route(house, {"who": "on_call", "wait_s": 60})
    assert escalation.start_calm(utc_now()) == 0, "a route for what is not urgent is for what comes in"
    escalation.find_forgotten(utc_now() + timedelta(days=1))
    assert not imported.filter(needs_alert=True).exists()


def test_what_is_damaged_is_listed_with_its_reason_and_left_alone(house: House, tmp_path: Path) -> None:
    box, good = tmp_path / "INBOX", wav(tone(1.5))
    left(box, 0, {"wav": good})
    left(box, 1, {})
    left(box, 2, {"wav": good[:4000]})
    left(box, 3, {"gsm": b"\xd2" * 65})
    left(box, 4, {"wav": good}, text="no description at all {at}{flag}")
    left(box, 5, {"wav": good}, at=99_999_999_999)
    left(box, 6, {"wav": b""})
    left(box, 7, {"wav": b"RIFF" + os.urandom(500)})
    (box / "msg0008.wav").write_bytes(good)
    left(
        box, 9, {"WAV": os.urandom(900), "gsm": gsm(tone(1.5, 600.0), "RAW")}, LEFT + 9
    )  # one of two is whole
    secret = tmp_path.parent / "outside.wav"
    secret.write_bytes(good)
    left(box, 10, {})
    (box / "msg0010.wav").symlink_to(secret)
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(box / "msg0011.txt")
    (tmp_path / "unavail.wav").write_bytes(good)
    (tmp_path / "evil\x1b[2J\nname").write_bytes(b"x")
    before = contents(tmp_path)
    report = take(tmp_path, house)
    whys = {entry.where: entry.why for entry in report.entries if entry.outcome == "damaged"}
    assert report.counts == {"imported": 2, "again": 0, "damaged": 9, "skipped": 5}
    assert whys["INBOX/msg0001.txt"] == "its sound is missing"
    assert whys["INBOX/msg0002.txt"] == whys["INBOX/msg0003.txt"] == "its sound is damaged"
    assert whys["INBOX/msg0004.txt"] == "its description cannot be read"
    assert whys["INBOX/msg0005.txt"] == "the time at which it was left cannot be"
    assert whys["INBOX/msg0006.txt"] == "its sound is empty"
    assert whys["INBOX/msg0008.wav"].startswith("its description is missing")
    assert whys["INBOX/msg0010.txt"] == "its sound is missing"
    assert all(entry.where.isprintable() for entry in report.entries)
    assert contents(tmp_path) == before
    json.dumps(import_admin.as_dict(report))
    assert "5035550148" not in "\n".join(import_admin.told(report))


UUIDS = [f"0d9a4c1e-0000-4000-8000-00000000000{n}" for n in range(3)]


@pytest.mark.parametrize("kind", ["csv", "sql", "none"])
def test_fusionpbx_messages_are_taken_with_their_rows(house: House, tmp_path: Path, kind: str) -> None:
    box = tmp_path / "default" / "example.org" / "200"
    box.mkdir(parents=True)
    for number, uuid in enumerate(UUIDS):
        (box / f"msg_{uuid}.wav").write_bytes(wav(tone(2.0, 400.0 + 50 * number), 16000 if number else 8000))
        os.utime(box / f"msg_{uuid}.wav", (LEFT, LEFT))
    (box / "greeting_1.wav").write_bytes(wav(tone(1.0)))
    names = ["voicemail_message_uuid", "created_epoch", "read_epoch", "caller_id_number", "message_priority"]
    values = [
        [UUIDS[0], str(LEFT + 5), "", "+15035550148", ""],
        [UUIDS[1], str(LEFT + 6), str(LEFT + 99), "x", ""],
    ]
    table = tmp_path.parent / f"rows.{kind}"
    if kind == "sql":
        lines = ["SET x = 1;", f"COPY public.v_voicemail_messages ({', '.join(names)}) FROM stdin;"]
        table.write_text(
            "\n".join([*lines, *("\t".join(one or "\\N" for one in row) for row in values), "\\.", "--"])
        )
    else:
        table.write_text("\n".join(",".join(row) for row in [names, *values]))
    rows = None if kind == "none" else fusionpbx.table(table)
    report = take(tmp_path, house, rows=rows)
    assert report.counts == {"imported": 3, "again": 0, "damaged": 0, "skipped": 1}
    found = {int(one.received_at.timestamp()) - LEFT: one.state for one in Message.objects.all()}
    if kind != "none":
        assert found == {0: "new", 5: "new", 6: "closed"}
    else:
        assert set(found.values()) == {"new"}
        assert Message.objects.count() == 3
    assert take(tmp_path, house, rows=rows).counts["again"] == 3


def test_fusionpbx_messages_stay_the_same_whenever_their_files_are_dated(
    house: House, tmp_path: Path
) -> None:
    """A copy has a new time, and rows tell another one than the file: neither makes another message of it."""
    box = tmp_path / "first" / "200"
    box.mkdir(parents=True)
    for number, uuid in enumerate(UUIDS[:2]):
        (box / f"msg_{uuid}.wav").write_bytes(wav(tone(2.0)))
        os.utime(box / f"msg_{uuid}.wav", (LEFT + number, LEFT + number))
    assert take(tmp_path / "first", house).counts["imported"] == 2, "the same sound, left twice"
    shutil.copytree(tmp_path / "first", tmp_path / "copy", copy_function=shutil.copy)
    again = {"imported": 0, "again": 2, "damaged": 0, "skipped": 0}
    assert take(tmp_path / "copy", house, dry=True).counts == again
    report = take(tmp_path / "copy", house)
    assert report.counts == again
    assert {entry.message for entry in report.entries} == set(Message.objects.values_list("id", flat=True))
    rows = {UUIDS[0]: {"created_epoch": str(LEFT - 5)}, UUIDS[1]: {"created_epoch": str(LEFT - 90_000)}}
    assert take(tmp_path / "first", house, rows=rows).counts == again


def test_what_waits_for_the_worker_is_not_imported_twice_either(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"msg_{UUIDS[0]}.wav"
    file.write_bytes(wav(tone(2.0)))
    with monkeypatch.context() as away:
        away.setattr("nightbell.mailbox.intake.take_in", lambda *_: None)
        assert take(tmp_path, house).counts["imported"] == 1
    os.utime(file, (LEFT, LEFT))
    assert take(tmp_path, house).counts == {"imported": 0, "again": 1, "damaged": 0, "skipped": 0}
    [waiting] = load().spool.glob("*.cap")
    waiting.unlink()  # the spool is that of all tests


def test_the_command_tells_what_it_would_do_and_then_does_it_on_the_record(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs.begin(utc_now(), "system:test")
    load().spool.mkdir(parents=True, exist_ok=True)
    for name in ("home.require", "check_keys_apart", "setup"):
        monkeypatch.setattr(f"nightbell.server.import_admin.{name}", lambda *_: None)
    left(tmp_path / "INBOX", 0, {"wav": wav(tone(2.0))}, flag="Urgent")
    command = ["import", str(tmp_path), "--practice", house.practice.code, "--mailbox", "nurse LINE"]
    assert cli.main([*command, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["imported"] == 1
    assert Message.objects.count() == 0
    assert not Event.objects.filter(action__startswith="import:").exists()
    assert cli.main(command) == 0
    assert "Imported 1 messages" in capsys.readouterr().out
    events = Event.objects.filter(action__in=["import:begin", "import:end", "message:received"]).order_by(
        "seq"
    )
    assert [event.action for event in events] == ["import:begin", "message:received", "import:end"]
    assert events[0].actor.startswith("os:")
    for wrong, what in ((["--mailbox", "none"], "mailbox"), (["--practice", "ZZ99"], "practice")):
        assert cli.main([*command, *wrong]) == 1
        assert what in capsys.readouterr().err


def test_a_folder_without_messages_is_refused(house: House, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(BadImport):
        take(tmp_path, house)
    with pytest.raises(BadImport):
        take(tmp_path / "nowhere", house)


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda data: b"[message]\n" + data))
def test_whatever_a_description_holds_it_is_read_or_refused(data: bytes) -> None:
    try:
        found = asterisk.fields(data)
    except Damaged:
        return
    assert all(isinstance(value, str) for value in found.values())


@example("\t")
@given(st.text(max_size=300))
def test_whatever_a_table_holds_it_is_read_or_refused(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_text("voicemail_message_uuid,created_epoch\n" + text, errors="replace")
        try:
            rows = fusionpbx.table(path)
        except BadImport:
            return
        assert all(key for key in rows)
        (Path(folder) / f"msg_{UUIDS[0]}.wav").write_bytes(b"x")
        assert len(list(fusionpbx.messages(look(Path(folder)), utc_now(), rows))) == 1
