"""A practice's own recordings: kept before they are named, played from their hash, and nobody else's."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.flow.plan import BadPlan
from nightbell.flow.studio import Finished
from nightbell.line import recordings, service
from nightbell.line.models import Clip, TryNumber
from nightbell.line.recordings import longest
from nightbell.people.access import Forbidden, NotFound
from nightbell.people.roles import Role
from nightbell.server import home
from nightbell.server.worker import Worker


def finished(content: bytes = b"RIFF one", seconds: float = 2.0) -> Finished:
    return Finished(content, seconds, -16.0, -3.0, (0.1, 0.2))


def test_a_kept_recording_changes_nothing_until_it_is_used(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    before = service.draft(actor)
    kept = service.keep_clip(actor, "practice-name", "en", finished(), "browser", "Practice AB12")
    assert (load().home / "phone" / "clips" / kept.sha256).read_bytes() == b"RIFF one"
    assert kept.sha256 == hashlib.sha256(b"RIFF one").hexdigest()
    assert service.draft(actor) == before
    assert service.clips(actor) == [kept]
    assert service.clip_bytes(actor, kept.sha256) == b"RIFF one"
    assert service.clip_bytes(house.practice.id, kept.sha256) == b"RIFF one"
    assert Event.objects.filter(action="line:clip").count() == 1


def test_the_same_recording_twice_is_kept_once(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    first, second = (service.keep_clip(actor, "practice-name", "en", finished(), "upload") for _ in range(2))
    assert first == second
    assert Clip.objects.count() == 1


def test_a_recording_is_used_published_and_taken_out(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    kept = service.keep_clip(actor, "practice-name", "en", finished(), "browser")
    revision = service.use_clip(actor, 0, "practice-name", "en", kept.sha256)
    revision = service.use_clip(actor, revision, "practice-name", "es", kept.sha256)
    live = service.plan_of(service.publish(actor, revision))
    assert live.clips == {"en/practice-name": kept.sha256, "es/practice-name": kept.sha256}
    revision = service.use_clip(actor, service.draft(actor).revision, "practice-name", "es", "")
    assert service.draft(actor).plan.clips == {"en/practice-name": kept.sha256}
    with pytest.raises(service.Stale):
        service.use_clip(actor, revision - 1, "practice-name", "es", kept.sha256)


def test_a_greeting_in_one_language_of_two_does_not_go_live(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    kept = service.keep_clip(actor, "own-greeting-closed", "en", finished(), "browser")
    revision = service.use_clip(actor, 0, "own-greeting-closed", "en", kept.sha256)
    with pytest.raises(service.NotReady) as refused:
        service.publish(actor, revision)
    assert "not recorded in Spanish" in refused.value.problems[0].what


def test_a_recording_whose_file_is_gone_does_not_go_live(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    kept = service.keep_clip(actor, "practice-name", "en", finished(b"RIFF gone"), "browser")
    revision = service.use_clip(actor, 0, "practice-name", "en", kept.sha256)
    (load().home / "phone" / "clips" / kept.sha256).unlink()
    with pytest.raises(service.NotReady):
        service.publish(actor, revision)
    with pytest.raises(NotFound):
        service.clip_bytes(actor, kept.sha256)


def test_another_practices_recording_is_not_there(house: House, other: House) -> None:
    kept = service.keep_clip(house.actor(Role.MANAGER), "practice-name", "en", finished(), "browser")
    theirs = other.actor(Role.MANAGER)
    assert service.clips(theirs) == []
    for who in (theirs, other.practice.id):
        with pytest.raises(NotFound):
            service.clip_bytes(who, kept.sha256)
    with pytest.raises(BadPlan):
        service.use_clip(theirs, 0, "practice-name", "en", kept.sha256)
    with pytest.raises(NotFound):
        service.clip_bytes(house.practice.id, "../../home.json")


@pytest.mark.parametrize(
    ("clip", "language", "source", "seconds"),
    [
        ("no-such-place", "en", "browser", 2.0),
        ("own-key-9", "en", "browser", 2.0),
        ("practice-name", "fr", "browser", 2.0),
        ("practice-name", "en", "elsewhere", 2.0),
        ("practice-name", "en", "browser", 6.1),
        ("own-greeting-closed", "en", "browser", 60.1),
        ("goodbye", "en", "browser", 3.6),
    ],
)
def test_what_fits_nowhere_is_refused_and_leaves_nothing(
    house: House, clip: str, language: str, source: str, seconds: float
) -> None:
    content = f"RIFF {clip} {language} {source}".encode()
    with pytest.raises(service.BadClip):
        service.keep_clip(house.actor(Role.MANAGER), clip, language, finished(content, seconds), source)
    assert not (load().home / "phone" / "clips" / hashlib.sha256(content).hexdigest()).exists()
    assert not Clip.objects.exists()


def test_every_place_has_a_length() -> None:
    assert (longest("own-greeting-closure"), longest("own-key-8"), longest("goodbye")) == (60.0, 12.0, 3.5)


# What is not wanted any more.


def file_of(content: bytes) -> Path:
    return load().home / "phone" / "clips" / hashlib.sha256(content).hexdigest()


def test_a_recording_that_nothing_names_is_deleted_with_its_file(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    kept = service.keep_clip(actor, "practice-name", "en", finished(b"RIFF away"), "browser")
    number = service.record_number(actor, "practice-name", "en")
    TryNumber.objects.filter(pk=number.pk).update(kept=kept)
    with pytest.raises(Forbidden):
        service.delete_clip(house.actor(Role.CLINICIAN), kept.id)
    assert service.delete_clip(actor, kept.id)
    assert not file_of(b"RIFF away").exists()
    assert not Clip.objects.exists()
    assert not TryNumber.objects.exists()
    assert Event.objects.filter(action="line:clip_removed", outcome="ok").count() == 1
    with pytest.raises(NotFound):
        service.delete_clip(actor, kept.id)


def test_a_recording_that_callers_may_hear_stays(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    kept = service.keep_clip(actor, "practice-name", "en", finished(b"RIFF used"), "browser")
    both = service.use_clip(actor, 0, "practice-name", "en", kept.sha256)
    assert not service.delete_clip(actor, kept.id), "the draft names it"
    service.publish(actor, service.use_clip(actor, both, "practice-name", "es", kept.sha256))
    assert not service.delete_clip(actor, kept.id)
    gone = service.use_clip(actor, service.draft(actor).revision, "practice-name", "en", "")
    service.publish(actor, service.use_clip(actor, gone, "practice-name", "es", ""))
    assert not service.delete_clip(actor, kept.id), "it can be brought back"
    assert file_of(b"RIFF used").exists()
    assert not Event.objects.filter(action="line:clip_removed").exists()


def test_another_practices_recording_is_not_deleted(house: House, other: House) -> None:
    mine, theirs = (
        service.keep_clip(one.actor(Role.MANAGER), "practice-name", "en", finished(b"RIFF ours"), "upload")
        for one in (house, other)
    )
    with pytest.raises(NotFound):
        service.delete_clip(house.actor(Role.MANAGER), theirs.id)
    assert service.delete_clip(house.actor(Role.MANAGER), mine.id)
    assert file_of(b"RIFF ours").exists(), "theirs is the same file"


def test_the_sweep_removes_old_files_that_nothing_names(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    for content in (b"RIFF orphan", b"RIFF young", b"RIFF named", b"RIFF live"):
        service.keep_clip(actor, "practice-name", "en", finished(content), "browser")
    live = Clip.objects.get(sha256=file_of(b"RIFF live").name)
    both = service.use_clip(actor, 0, "practice-name", "en", live.sha256)
    service.publish(actor, service.use_clip(actor, both, "practice-name", "es", live.sha256))
    Clip.objects.exclude(sha256=file_of(b"RIFF named").name).delete()
    old = (utc_now() - timedelta(hours=1)).timestamp()
    for content in (b"RIFF orphan", b"RIFF named", b"RIFF live"):
        os.utime(file_of(content), (old, old))
    config = load()
    home.prepare_database(config, utc_now())
    if home.stamp(config) is None:
        home.write_stamp(config, home.DEMO, utc_now())
    Worker(config, Log("test", StringIO()))._sweep()  # as at its start, and once a day
    there = [file_of(b"RIFF " + name).exists() for name in (b"orphan", b"young", b"named", b"live")]
    assert there == [False, True, True, True]


def test_the_database_holds_a_content_once_a_place(house: House) -> None:
    kept = service.keep_clip(house.actor(Role.MANAGER), "practice-name", "en", finished(), "browser")
    kept.pk = "0" * 26
    with pytest.raises(IntegrityError), transaction.atomic():
        kept.save(force_insert=True)


def test_a_row_is_not_entered_for_a_file_that_went(house: House) -> None:
    with pytest.raises(OSError, match="No such file"), transaction.atomic():
        recordings.enter(house.actor(Role.MANAGER), "practice-name", "en", "0" * 64, 1.0, "phone", "")
    assert not Clip.objects.exists()
