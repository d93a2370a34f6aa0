"""Backup and restore of a home of its own: scenes run in a process that has that home from its start."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests import prepared

ROOT = Path(__file__).resolve().parents[2]
SCENE = (
    "import json, sys; from nightbell.server.django_setup import setup; setup(); "
    "from tests.faults import test_backup as t; [getattr(t, name)(*given) for name, *given in json.loads(sys.argv[1])]"
)
Run = subprocess.CompletedProcess[str]
Scene = Callable[..., None]


class Place:
    """A home and its keys, and commands on them."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "home"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("NIGHTBELL_")} | {
            "NIGHTBELL_HOME": str(root / "home"), "NIGHTBELL_KEYS": str(root / "keys"),
            "NIGHTBELL_URL": "https://nightbell.test", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "NIGHTBELL_MODELS": str(ROOT / "models"),
        }  # fmt: skip

    def run(self, *arguments: str, before: Callable[[], None] | None = None, **environment: str) -> Run:
        return subprocess.run(
            [sys.executable, *arguments], env=self.environment | environment, cwd=self.root, text=True,
            capture_output=True, check=False, preexec_fn=before,
        )  # fmt: skip

    def scene(self, scene: Scene, *arguments: str) -> str:
        return self.scenes((scene, *arguments))

    def scenes(self, *scenes: tuple[Any, ...]) -> str:
        """One after another in one process: most of what each would take is its start. Returns what they printed."""
        told = [(scene.__name__, *given) for scene, *given in scenes]
        done = self.run("-c", SCENE, json.dumps(told))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def command(self, *arguments: str, **environment: str) -> Run:
        return self.run("-m", "nightbell.server.cli", *arguments, **environment)

    def restore(self, name: str, **environment: str) -> Run:
        [ring] = (self.root / f"{name}-ring").iterdir()
        return self.command("restore", str(self.root / name), str(ring), **environment)

    def verify(self) -> Run:
        done = self.command("audit", "verify")
        assert "Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("made"))
    prepared.lend(place.home)
    place.scene(make)
    return place.root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Place:
    shutil.copytree(made, tmp_path / "place")
    return Place(tmp_path / "place")


# Scenes


def save(name: str) -> None:
    """As the command does it, into folders beside the home."""
    from nightbell.server.cli import main

    assert main(["backup", name, f"{name}-ring"]) == 0


def make() -> None:
    from tests.factories import make_house

    from nightbell.core.clock import utc_now
    from nightbell.core.config import load
    from nightbell.server import home

    config = load()
    home.make(config, home.REAL, utc_now())
    home.prepare_database(config, utc_now())
    make_house()


def log_in() -> None:
    """A session as a browser has it, one that ended, and a throttle."""
    from allauth.usersessions.models import UserSession
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.cache import cache

    from nightbell.people.models import User

    ended = SessionStore()
    ended["at"] = "0" * 900
    ended.save()
    live = SessionStore()
    live["at"] = "1" * 900
    live.save()
    cache.set("throttle-of-somebody", 1)
    UserSession.objects.create(
        user=User.objects.earliest("pk"), ip="192.0.2.7", session_key=live.session_key, user_agent="x"
    )
    keys = f"{live.session_key} {ended.session_key}"
    ended.delete()
    print(keys)


def take_in_during_backup() -> None:
    """A finished capture and one whose writer died, in the spool before the backup, taken in while blobs are copied."""
    from tests.factories import make_capture

    from nightbell.core.clock import utc_now
    from nightbell.core.config import load
    from nightbell.mailbox import intake
    from nightbell.mailbox.models import Mailbox
    from nightbell.sealing import spool
    from nightbell.server import backup

    captures = [make_capture(Mailbox.objects.earliest("pk"), finish=finish) for finish in (True, False)]
    plain = shutil.copytree

    def busy(*given: object, **named: object) -> object:
        for path in spool.waiting(load().spool):
            intake.take_in(path, utc_now())
        return plain(*given, **named)  # type: ignore[arg-type]

    shutil.copytree = busy  # type: ignore[assignment]
    backup.save(load(), Path("data"), Path("data-ring"), "os:tester", utc_now())
    assert not spool.waiting(load().spool)
    print(json.dumps(sorted(path.stem for path in captures)))


def vanish_during_backup() -> None:
    """Intake's half-written file, and a blob that goes after it was listed."""
    from tests.factories import make_message

    from nightbell.core.clock import utc_now
    from nightbell.core.config import load
    from nightbell.mailbox.models import Mailbox
    from nightbell.server import backup

    make_message(Mailbox.objects.earliest("pk"))
    [blob] = [path for path in load().blobs.rglob("*") if path.is_file()]
    going, plain = blob.with_name("0" * 26), shutil.copy2
    shutil.copy2(blob, going)
    blob.with_name(".half.tmp").write_bytes(b"half")

    def late(source: str | Path, target: str | Path) -> object:
        if Path(source).name == going.name:
            going.unlink(missing_ok=True)
        return plain(source, target)

    shutil.copy2 = late  # type: ignore[assignment]
    print(backup.save(load(), Path("data"), Path("data-ring"), "os:tester", utc_now()))


def messages() -> None:
    """Take in what waits; the ids of all messages."""
    from nightbell.core.clock import utc_now
    from nightbell.core.config import load
    from nightbell.mailbox import intake
    from nightbell.mailbox.models import Message
    from nightbell.sealing import spool

    for path in spool.waiting(load().spool):
        intake.take_in(path, utc_now())
    print(json.dumps(sorted(Message.objects.exclude(state="disposed").values_list("id", flat=True))))


def wait_in_spool() -> None:
    from tests.factories import make_capture

    from nightbell.mailbox.models import Mailbox

    print(make_capture(Mailbox.objects.earliest("pk")).stem)


def destroy() -> None:
    from nightbell.compliance.disposal import dispose
    from nightbell.core.clock import utc_now
    from nightbell.mailbox.models import Message

    dispose(Message.objects.get(), "user:manager", "request", utc_now())


def grow(times: str) -> None:
    """Events in the installation's log with a checkpoint after each; prints its size."""
    from nightbell.audit import service, signing
    from nightbell.audit.models import Log
    from nightbell.core.clock import utc_now
    from nightbell.core.config import load

    for number in range(int(times)):
        now = utc_now() + timedelta(seconds=number)
        service.record("installation", actor="os:tester", action="test:event", now=now)
        signing.checkpoint_all(load().url, load().home / "checkpoints", now)
    print(Log.objects.get(pk="installation").size)


# Tests


def test_a_backup_lets_nobody_in(place: Place) -> None:
    live, ended = place.scenes((log_in,), (save, "data")).split()[:2]
    data = (place.root / "data" / "nightbell.sqlite3").read_bytes()
    for secret in (live, ended, "throttle-of-somebody"):
        assert secret.encode() not in data
    assert live.encode() in (place.home / "db" / "nightbell.sqlite3").read_bytes()
    with closing(sqlite3.connect(place.root / "data" / "nightbell.sqlite3")) as copy:
        assert copy.execute("SELECT count(*) FROM audit_event").fetchone()[0] > 0
    assert place.restore("data").returncode == 0
    assert place.scene(messages) == "[]"


def keep_recording() -> None:
    """A practice's own recording; prints the name of its file."""
    from tests.factories import Role

    from nightbell.core.clock import utc_now
    from nightbell.flow.studio import Finished
    from nightbell.line import service
    from nightbell.people.access import Actor
    from nightbell.people.models import User

    actor = Actor(User.objects.get(role=Role.MANAGER), "", "", utc_now())
    finished = Finished(b"RIFF own", 2.0, -16.0, -3.0, (0.0, 0.0))
    print(service.keep_clip(actor, "practice-name", "en", finished, "browser").sha256)


def test_a_call_that_ended_before_is_in_the_backup_whatever_intake_does_meanwhile(place: Place) -> None:
    name, clips = place.scene(keep_recording), place.home / "phone" / "clips"
    ended = place.scene(take_in_during_backup)
    shutil.rmtree(place.home / "blobs")
    shutil.rmtree(clips)
    assert place.restore("data").returncode == 0
    assert place.scene(messages) == ended
    assert (clips / name).read_bytes() == b"RIFF own", "callers hear the practice in its own words again"


def test_what_waits_in_a_backup_does_not_come_back_after_it_was_destroyed(place: Place) -> None:
    place.scenes((wait_in_spool,), (save, "data"), (messages,), (destroy,))
    assert place.restore("data").returncode == 0
    assert place.scene(messages) == "[]"


def test_a_backup_passes_over_what_goes_meanwhile(place: Place) -> None:
    assert place.scene(vanish_during_backup) == "1"
    assert not list((place.root / "data").rglob(".*"))


def _small() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


@pytest.mark.parametrize("wrong", ["no folder", "full for the database", "full for a blob"])
def test_a_target_that_takes_nothing_is_told_in_words(place: Place, wrong: str) -> None:
    data, before = place.root / "data", None
    if wrong == "no folder":
        data.touch()
        data = data / "below"
    elif wrong == "full for the database":
        before = _small
    else:
        (place.home / "blobs" / "big").write_bytes(bytes(5_000_000))

        def before() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))

    done = place.run(
        "-m", "nightbell.server.cli", "backup", str(data), str(place.root / "ring"), before=before
    )
    assert done.returncode == 1
    assert done.stderr.startswith("nightbell backup: The backup was not made. "), done.stderr
    assert "Traceback" not in done.stderr
    assert "give new folders" in done.stderr


def test_after_an_honest_restore_the_log_is_whole_and_tells_its_gap(place: Place) -> None:
    told = place.scenes((grow, "2"), (save, "data"), (grow, "0"), (grow, "3"))
    kept, grown = (int(size) for size in told.splitlines()[-2:])
    assert place.restore("data").returncode == 0
    place.scene(grow, "4")  # past the size that it had
    found = place.verify()
    assert found.returncode == 0, found.stdout
    assert (
        f"entries {kept} to {grown - 1} and any later ones of the time after the backup are gone"
        in found.stdout
    )
    assert "restored from a backup at 20" in found.stdout
    notes = place.home / "checkpoints"
    assert (notes / "installation.before-epoch-2.txt").read_bytes().count(b"\x1e") == 3

    with closing(sqlite3.connect(place.home / "db" / "nightbell.sqlite3")) as database, database:
        database.execute("DROP TRIGGER audit_event_no_update")
        [leaf] = database.execute(
            "SELECT leaf FROM audit_event WHERE log_id = 'installation' AND seq = ?", (kept + 2,)
        ).fetchone()
        database.execute(
            "UPDATE audit_event SET leaf = ? WHERE log_id = 'installation' AND seq = ?",
            (bytes([leaf[0] ^ 1]) + leaf[1:], kept + 2),
        )
    found = place.verify()
    assert found.returncode == 1
    assert f"First wrong entry: {kept + 2}." in found.stdout


def test_a_new_home_takes_a_checkpoint_that_was_signed_while_the_backup_ran(place: Place) -> None:
    place.scenes((grow, "2"), (save, "data"), (grow, "1"))
    log = place.home / "checkpoints" / "installation.txt"
    log.replace(place.root / "data" / "checkpoints" / log.name)
    assert place.restore("data").returncode == 0
    found = place.verify()
    assert found.returncode == 0, found.stdout
    assert log.read_bytes().count(b"\x1e") == 2


@pytest.mark.slow
def test_restores_one_after_another_leave_the_log_whole(place: Place) -> None:
    place.scenes((grow, "2"), (save, "first"), (grow, "3"))
    assert place.restore("first").returncode == 0
    place.scenes((grow, "2"), (save, "second"), (grow, "2"))  # of the second epoch
    for name in ("second", "first", "second"):
        assert place.restore(name).returncode == 0
        place.scene(grow, "3")
        found = place.verify()
        assert found.returncode == 0, (name, found.stdout)


def test_a_restore_that_was_cut_is_finished_by_another(place: Place) -> None:
    place.scenes((grow, "2"), (save, "data"), (grow, "3"))
    assert place.restore("data", NIGHTBELL_KILL_AT="restore.aside").returncode < 0
    found = place.verify()
    assert found.returncode == 1  # no leaf tells of it yet
    assert "before-epoch-2.txt" in found.stdout
    assert place.restore("data").returncode == 0
    assert place.verify().returncode == 0


def test_what_no_leaf_tells_of_stays_a_fault(place: Place) -> None:
    size = int(place.scene(grow, "3"))
    log = place.home / "checkpoints" / "installation.txt"
    aside = log.with_name("installation.before-epoch-2.txt")
    shutil.copy2(log, aside)  # somebody would like to have restored
    found = place.verify()
    assert (found.returncode, aside.name in found.stdout) == (1, True)
    aside.unlink()
    later = int(place.scenes((save, "data"), (grow, "3")).split()[-1])
    assert later == size + 4
    assert place.restore("data").returncode == 0
    assert place.verify().returncode == 0
    changed = bytearray(aside.read_bytes())
    changed[60] ^= 0x80
    aside.write_bytes(bytes(changed))
    assert place.verify().returncode == 1
