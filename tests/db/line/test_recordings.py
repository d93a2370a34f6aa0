"""A practice's own recordings: kept before they are named, played from their hash, and nobody else's."""

from __future__ import annotations

import hashlib

import pytest
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.config import load
from nightbell.flow.plan import BadPlan
from nightbell.flow.studio import Finished
from nightbell.line import service
from nightbell.line.models import Clip
from nightbell.line.recordings import longest
from nightbell.people.access import NotFound
from nightbell.people.roles import Role


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
