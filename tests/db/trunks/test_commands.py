"""`nightbell trunk` and `nightbell evidence`: exit codes, words and JSON; the password comes by standard input alone."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.db.trunks.conftest import PASSWORD, WHY
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import iso, utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.line import trunk_states, trunks
from nightbell.line.models import Trunk
from nightbell.mailbox import epochs
from nightbell.server import cli, health, home
from nightbell.server import tls as certificates
from nightbell.server.trunk_watch import TrunkWatch

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _stamped(house: House) -> Iterator[None]:
    config = load()
    home.write_stamp(config, home.REAL, utc_now())
    yield
    (config.home / "home.json").unlink()
    (config.home / "run" / "health.json").unlink(missing_ok=True)
    (config.home / "run" / trunks.ASKED).unlink(missing_ok=True)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def inner(*words: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = cli.main([*words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return inner


ADD = ("trunk", "add", "--preset", "telnyx", "--user", "acme1", "--password-stdin")


def test_one_is_added_listed_changed_and_removed(run: Run) -> None:
    assert "No carrier can reach this line yet" in run("trunk", "list")[1]
    code, out, _ = run(*ADD, typed=PASSWORD + "\n")
    made = out.strip()
    assert code == 0 and trunks.one_trunk(made).domain == "sip.telnyx.com"
    code, out, _ = run("trunk", "list", "--json")
    assert PASSWORD not in out
    (one,) = json.loads(out)
    assert (one["id"], one["kind"], one["password"], one["plain"], one["in_use"]) == (
        made,
        "register",
        True,
        False,
        True,
    )
    assert run("trunk", "change", "Telnyx", "--expires", "900")[0] == 0
    assert Trunk.objects.get().expires == 900
    assert run("trunk", "remove", "Telnyx")[0] == 0
    assert run("trunk", "bring-back", made)[0] == 0
    assert (
        f"{made}  Telnyx: register, sip.telnyx.com, 192.76.120.10, 64.16.250.10 by TLS, encrypted"
        in run("trunk", "list")[1]
    )
    actors = set(Event.objects.filter(action__startswith="trunk:").values_list("actor", flat=True))
    assert {actor[:3] for actor in actors} == {"os:"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*ADD[:-1],), "registering needs it"),
        (("trunk", "add", "--name", "X", "--kind", "address", "--sources", "carrier"), "is no address"),
        (("trunk", "change", "nobody"), "There is no trunk 'nobody'"),
        (("trunk", "remove", "nobody"), "There is no trunk"),
        (("trunk", "bring-back", "nobody"), "There is no such trunk"),
        (("trunk", "accept-risk", "nobody", "--why", WHY), "There is no trunk"),
    ],
)
def test_what_cannot_be_fails_with_words(run: Run, words: tuple[str, ...], told: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert told in err and "Traceback" not in err
    assert not Trunk.objects.exists()


@pytest.mark.parametrize("words", [("trunk",), ("trunk", "add", "--expires", "soon"), ("evidence", "moon")])
def test_wrong_usage_is_two(run: Run, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2


def test_an_unknown_preset_and_no_change_at_all_are_wrong_usage(run: Run) -> None:
    code, _, err = run("trunk", "add", "--preset", "nobody" * 20, "--password-stdin", typed="x\n")
    assert code == 2 and "choose from twilio, telnyx," in err and not Trunk.objects.exists()
    assert run(*ADD, typed=PASSWORD + "\n")[0] == 0
    before = Trunk.objects.get().revision
    code, out, err = run("trunk", "change", "Telnyx")
    assert (code, out) == (2, "") and "nothing to change was given" in err
    assert Trunk.objects.get().revision == before


def test_the_last_day_that_was_typed_is_the_last_day_that_is_shown(run: Run) -> None:
    last = f"{utc_now() + timedelta(days=90):%Y-%m-%d}"
    run("trunk", "add", "--name", "Old box", "--sources", "203.0.113.7", "--transport", "udp")
    assert run("trunk", "accept-risk", "Old box", "--why", WHY, "--until", last)[0] == 0
    assert f"accepted until {last}" in run("evidence", "transport")[1]
    (one,) = json.loads(run("trunk", "list", "--json")[1])
    assert one["risk_until"] == last


def test_other_settings_than_those_of_the_running_system_are_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTBELL_DATABASE_FILE", "/dev/null")
    monkeypatch.setenv("NIGHTBELL_SMTP", "smtp://me:mail-secret@mail.example:587")
    monkeypatch.setenv("NIGHTBELL_TELNYX_PUBLIC_KEY", "key-of-telnyx")
    health.write(load(), {"trunks": [], "phones": []}, utc_now())
    kept = (load().home / "run" / "health.json").read_text()
    assert "mail.example:587" in kept and "mail-secret" not in kept and "key-of-telnyx" not in kept
    assert "differ" not in run("status")[1]
    monkeypatch.setenv("NIGHTBELL_SIP_PORT", "5070")
    monkeypatch.setenv("NIGHTBELL_SMTP", "smtp://me:other@mail.example:587")
    monkeypatch.delenv("NIGHTBELL_TELNYX_PUBLIC_KEY")
    for command in (("status",), ("evidence", "transport")):
        first = run(*command)[1].splitlines()[0]
        assert first.startswith("LOOK  these settings differ from the running system: ")
        assert "NIGHTBELL_SIP_PORT, NIGHTBELL_TELNYX_PUBLIC_KEY." in first and "SMTP" not in first
        assert "NIGHTBELL_SIP_PORT" in json.loads(run(*command, "--json")[1])["settings_differ"]
    health.write(load(), {"trunks": [], "phones": []}, utc_now() - timedelta(minutes=1))
    monkeypatch.setenv("NIGHTBELL_SIP_PORT", "5071")
    assert "differ" not in run("status")[1], "nothing runs"


@pytest.mark.parametrize(
    ("setting", "value", "options", "told"),
    [
        ("NIGHTBELL_TWILIO_ACCOUNT", "AC1", (), "NIGHTBELL_TWILIO_TOKEN is missing"),
        ("NIGHTBELL_TELNYX_API_KEY", "k", (), "NIGHTBELL_TELNYX_PUBLIC_KEY is missing"),
        ("NIGHTBELL_SIP_BIND", "192.0.2.7", ("--demo",), "NIGHTBELL_SIP_BIND. a demo listens"),
        ("NIGHTBELL_BIND", "192.0.2.7", ("--demo",), "NIGHTBELL_BIND. a demo listens"),
    ],
)
def test_serve_refuses_before_any_part_runs(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    setting: str,
    value: str,
    options: Any,
    told: str,
) -> None:
    monkeypatch.setenv("NIGHTBELL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTBELL_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv(setting, value)
    code, out, err = run("serve", *options)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert told in err and not list(tmp_path.iterdir())


def test_a_risk_is_accepted_withdrawn_and_shown(run: Run) -> None:
    code, _, err = run("trunk", "add", "--name", "Old box", "--sources", "203.0.113.7", "--transport", "udp")
    assert code == 0 and "Not in use" in err
    for until, told in (("soon", "cannot be read"), ("2020-01-01", "past"), ("2099-01-01", "two years")):
        code, _, err = run("trunk", "accept-risk", "Old box", "--why", WHY, "--until", until)
        assert code == 1 and told in err
    assert run("trunk", "accept-risk", "Old box", "--why", WHY)[0] == 0
    code, out, _ = run("evidence", "transport")
    assert WHY in out and "accepted until" in out and "for 203.0.113.7 by UDP" in out
    assert run("trunk", "withdraw-risk", "Old box")[0] == 0
    assert run("trunk", "withdraw-risk", "Old box")[0] == 1
    assert WHY not in run("evidence", "transport")[1]


def test_evidence_is_red_without_a_certificate_and_good_with_one(run: Run, tmp_path: Path) -> None:
    config = load()
    certificates.make(config.home / "tls", tmp_path, ["sip.practice.example", "192.0.2.7"], utc_now())
    config.sip_own.mkdir(parents=True, exist_ok=True)
    (config.sip_own / "sip.pem").unlink(missing_ok=True)
    assert run("evidence", "transport")[0] == 1
    (config.sip_own / "sip.pem").write_bytes((config.home / "tls" / "server.pem").read_bytes())
    code, out, _ = run("evidence", "transport", "--json")
    found = json.loads(out)
    assert (code, found["ok"]) == (0, True)
    web, phone = found["in_transit"][:2]
    assert phone["certificate_names"] == ["sip.practice.example", "192.0.2.7"]
    assert web["versions"] == "TLS 1.3" and phone["certificate_ends"] > iso(utc_now() + timedelta(days=300))
    (config.sip_own / "sip.pem").write_text("no certificate")
    assert run("evidence", "transport")[0] == 1
    (config.sip_own / "sip.pem").unlink()
    (config.home / "tls" / "server.pem").unlink()


class Control:
    """Stands in for phones that are connected: what they said, and what they are told."""

    def __init__(self, **said: dict[str, Any]) -> None:
        self.said, self.asked = said, list[str]()

    def health(self) -> list[dict[str, Any]]:
        return [{"trunks": trunk_states.checked(self.said), "age_s": 1.0, "wrong": []}]

    def ask_trunk(self, trunk: str) -> None:
        self.asked.append(trunk)


def test_status_follows_the_phone_and_the_worker_learns_the_realm(run: Run) -> None:
    made = run(*ADD, typed=PASSWORD + "\n")[1].strip()
    epochs.begin(utc_now(), "system:test")
    now = utc_now() - timedelta(minutes=10)
    state = {
        "state": "registered",
        "code": 200,
        "since": iso(now),
        "realm": "sip.telnyx.com",
        "algorithms": ["MD5"],
    }
    control = Control(**{made: state})
    watch = TrunkWatch(load().home, control, "system:worker")  # type: ignore[arg-type]

    def report() -> None:
        watch.keep_up({})
        health.write(load(), {"trunks": watch.stored, "phones": control.health()}, utc_now())

    report()
    assert Trunk.objects.get().realm == "sip.telnyx.com"
    code, out, _ = run("trunk", "status")
    assert (code, out.splitlines()[-1]) == (0, "ok: 1 trunk, all in order")
    control.said[made] = state | {"state": "failed", "code": 403, "since": iso(utc_now())}
    report()
    code, out, _ = run("trunk", "status")
    assert (code, out.splitlines()[-1]) == (1, "LOOK: 1 trunk, 1 is failing (tried again)")
    control.said[made] = state | {"state": "failed", "code": 403, "realm": "evil.example"}
    report()
    assert Trunk.objects.get().realm == "sip.telnyx.com"
    code, out, _ = run("trunk", "status", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["trunks"][0]["phone"]["state"]) == (1, False, "failed")
    assert "another realm" in found["says"] and "failed since" in found["says"]
    code, out, _ = run("status")
    assert code == 1 and "LOOK  carrier" in out


def test_a_wish_to_ask_now_is_passed_on_once(run: Run) -> None:
    made = run(*ADD, typed=PASSWORD + "\n")[1].strip()
    control = Control()
    watch = TrunkWatch(load().home, control, "system:worker")  # type: ignore[arg-type]
    watch.pass_on()
    trunks.ask(made)
    watch.pass_on()
    watch.pass_on()
    assert control.asked == [made]
    (load().home / "run" / trunks.ASKED).write_text("../../etc")
    watch.pass_on()
    assert control.asked == [made]


def test_the_real_channel_sends_the_wish_down(run: Run, tmp_path: Path) -> None:
    import socket
    import threading

    from nightbell.server.control import ControlServer

    server = ControlServer(tmp_path / "c", threading.Event(), threading.Event(), Log("test", io.StringIO()))
    server.start()
    with socket.socket(socket.AF_UNIX) as phone:
        phone.connect(str(tmp_path / "c"))
        phone.settimeout(5)
        made = run(*ADD, typed=PASSWORD + "\n")[1].strip()
        phone.sendall(json.dumps({"event": "health", "trunks": {made: {"state": "off"}}}).encode() + b"\n")
        for _ in range(500):
            if any(one.get("trunks") for one in server.health()):
                break
            threading.Event().wait(0.01)
        assert server.health()[0]["trunks"] == {made: {"state": "off"}}
        server.ask_trunk(made)
        assert json.loads(phone.makefile("rb").readline()) == {"command": "ask_trunk", "data": {"id": made}}
