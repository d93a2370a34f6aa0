"""`nightbell practice listening|drill|line-test|staff-number`: what a practice decides of calls to its own people. The OS user is the actor in the log."""

from __future__ import annotations

import argparse
import getpass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, TypeAlias

from nightbell.core.clock import utc_now
from nightbell.core.config import Config
from nightbell.core.errors import NightbellError
from nightbell.people.risk_rules import USUAL, BadRisk
from nightbell.server import home
from nightbell.server.django_setup import setup

if TYPE_CHECKING:
    from nightbell.people.installation import By
    from nightbell.people.models import Practice

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _ready(config: Config) -> By:
    home.require(config)
    setup()
    from nightbell.people.installation import By

    return By(f"os:{getpass.getuser()}", utc_now())


def _practice(named: str) -> Practice:
    from django.db.models import Q

    from nightbell.people.models import Practice

    found = Practice.objects.filter(Q(pk=named.upper()) | Q(code=named.upper())).first()
    if found is None:
        raise NightbellError(
            "Nothing was changed", f"there is no practice {named[:30]!r}", "run: nightbell practice list"
        )
    return found


def _until(text: str | None, by: By) -> datetime:
    if text is None:
        return by.now + USUAL
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError as error:
        raise BadRisk("until", f"{text[:20]!r} is no day", "write it as 2027-01-31") from error


def _listening(config: Config, options: argparse.Namespace) -> int:
    """On or off: whether messages may be heard over the phone network, after a PIN."""
    by = _ready(config)
    from nightbell.oncall import voice
    from nightbell.people import risks

    practice = _practice(options.practice)
    if options.off:
        risks.withdraw(by, voice.LISTENING, practice.id)
        print(f"{practice.name}: messages are not played by telephone.")
        return 0
    about = f"messages of {practice.code} are played over the phone network, after a PIN"
    risks.accept(by, voice.LISTENING, practice.id, about, options.why, _until(options.until, by), "")
    print(f"{practice.name}: messages may be heard by telephone, after a PIN.")
    return 0


def _drill(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.oncall import line_test

    practice = _practice(options.practice)
    line_test.begin_drill(practice, by.name, by.now)
    print(f"{practice.name}: a drill. Whoever is on call is woken now, and told that it is one.")
    return 0


def _line_test(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.oncall import line_test

    practice = _practice(options.practice)
    if options.at == "now":
        line_test.begin_now(practice, by.name, by.now)
        print(f"{practice.name}: the line is tested now. It takes some minutes.")
        return 0
    line_test.set_time(practice, _minutes(options.at), by.name, by.now)
    if options.at != "off" and not line_test.is_proved(practice):
        print("No test has come in by the practice's number yet: begin one with 'now', or there is none.")
    print(
        f"{practice.name}: {'no evening test' if options.at == 'off' else 'tested each evening at ' + options.at}."
    )
    return 0


def _staff_number(config: Config, options: argparse.Namespace) -> int:
    """A number for the practice's own people: patients who call it hear nothing but a question for a PIN."""
    by = _ready(config)
    from django.db import transaction

    from nightbell.audit import service as audit
    from nightbell.line.state import touch
    from nightbell.mailbox.models import Mailbox, Number

    practice, plain = _practice(options.practice), Number.plain(options.number)
    mailbox = Mailbox.objects.filter(practice=practice).order_by("position", "id").first()
    known = Number.objects.filter(pk=plain).select_related("mailbox").first()
    if (
        mailbox is None
        or not plain
        or (known is not None and (known.mailbox.practice_id != practice.id or not known.staff))
    ):
        raise NightbellError(
            "The staff number was not set",
            "patients call it, or it is another practice's",
            "use a number of its own",
        )
    with transaction.atomic():
        if options.off:
            Number.objects.filter(pk=plain, staff=True).delete()
        elif known is None:
            Number.objects.create(dialled=plain, mailbox=mailbox, staff=True)
        audit.record(
            practice.id,
            actor=by.name,
            action="line:staff_number",
            now=by.now,
            detail={"number": plain, "off": options.off},
        )
        transaction.on_commit(touch)
    print(f"{practice.name}: {plain} is {'no number any more' if options.off else 'the staff line'}.")
    if not options.off and (config.twilio_account or config.telnyx_public_key):
        print(
            "It answers calls that come by a SIP trunk; one that comes by a provider's webhook is told so and ends."
        )
    return 0


def _minutes(text: str) -> int | None:
    if text == "off":
        return None
    try:
        at = time.fromisoformat(text)
    except ValueError as error:
        raise NightbellError(
            "The time was not kept", f"{text[:10]!r} is no time", "write 17:30, off or now"
        ) from error
    return at.hour * 60 + at.minute


def add_to(practice: Commands) -> None:
    """Hang these commands under `nightbell practice`."""
    words = "wake whoever is on call with an invented message that says so"
    drill = practice.add_parser("drill", help=words, description=words)
    drill.add_argument("practice", help="its id or code")
    drill.set_defaults(run=_drill)
    words = "a number by which staff ring in, to give a shift away (--off: not any more)"
    staff = practice.add_parser("staff-number", help=words, description=words)
    staff.add_argument("practice", help="its id or code")
    staff.add_argument("number")
    staff.add_argument("--off", action="store_true")
    staff.set_defaults(run=_staff_number)
    words = "when the practice's own number is called each evening, by its clock"
    test = practice.add_parser("line-test", help=words, description=words)
    test.add_argument("practice", help="its id or code")
    test.add_argument("at", metavar="HH:MM|off|now")
    test.set_defaults(run=_line_test)
    words = "let messages be heard over the phone network, on record (--off: not any more)"
    listening = practice.add_parser("listening", help=words, description=words)
    listening.add_argument("practice", help="its id or code")
    listening.add_argument("--why", default="", help="the reason, for whoever reviews it")
    listening.add_argument("--until", metavar="YYYY-MM-DD", help="when it is looked at again; in a year")
    listening.add_argument("--off", action="store_true")
    listening.set_defaults(run=_listening)
