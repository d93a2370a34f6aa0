"""Fills a seeded demo with a month behind it, for pictures: who was told, took it, heard it and reached the patient; and a
telephone by which a patient is called back. Run in a process of its own, after `tests.browser.seed`.

usage: python -m tests.browser.month            (NIGHTBELL_HOME and the rest from the environment)
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from nightbell.core.clock import utc_now
from nightbell.server.django_setup import setup

LAST = 60
HOURS = (*range(22, 24), *range(8), *range(17, 22), 12)  # UTC: when a practice in New York is closed


def minutes(dice: random.Random, most: int) -> timedelta:
    """Short ones are likelier than long ones."""
    return timedelta(seconds=60 + dice.random() ** 3 * most * 60)


def main() -> None:
    setup()

    # Models can be imported only now.
    from tests.browser.seed import pcm
    from tests.factories import make_message

    from nightbell.core.ids import new_token
    from nightbell.line.models import Trunk
    from nightbell.mailbox import playing, service
    from nightbell.mailbox.models import Mailbox
    from nightbell.oncall import outcomes
    from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState
    from nightbell.people.access import Actor
    from nightbell.people.models import Contact, User

    now, dice = utc_now(), random.Random(5)
    doctors = [User.objects.get(login=login) for login in ("patel", "rivera")]
    practice, nurse = doctors[0].practice, Mailbox.objects.get(name="Nurse line", practice__code="MS01")
    Contact.objects.create(
        user=doctors[0], kind="voice", address="+16175550123", label="Own phone", position=1,
        created_at=now, verified_at=now, tested_at=now - timedelta(days=2),
    )  # fmt: skip
    who = {"made_at": now, "made_by": "seed", "changed_at": now, "changed_by": "seed"}
    Trunk.objects.create(name="Carrier", preset="other", kind="address", **who)

    def lived(came: datetime, user: User, urgent: bool) -> None:
        """Told at once, then heard, taken, and the patient reached."""
        message = make_message(nurse, pcm=pcm("cards_005")[:8000], urgent=urgent, caller="", answered_at=came)
        Alert.objects.filter(message=message).delete()  # the one of now
        alert = Alert.objects.create(
            practice=practice, message=message, token=new_token(), policy="", state=AlertState.OWNED,
            started_at=came, next_at=came, owner=user, owned_at=came,
        )  # fmt: skip
        Attempt.objects.create(
            alert=alert, step=0, user=user, kind="urgent", channel="push", address="-", recorded_at=came,
            retry_at=came, sent_at=came, state=AttemptState.SENT,
        )  # fmt: skip
        at = came + minutes(dice, 9)
        service.acknowledge(Actor(user, "127.0.0.1", "seed", at), message.id)
        playing.sound(Actor(user, "127.0.0.1", "seed", at + timedelta(seconds=20)), message.id, 0, 1000)
        at += minutes(dice, 25)
        outcomes.record(Actor(user, "127.0.0.1", "seed", at), message.id, "reached")

    for number in range(LAST):
        day = now - timedelta(days=2 + number % 26)
        came = day.replace(hour=dice.choice(HOURS), minute=dice.randrange(60))
        lived(came, doctors[number % 26 // 3 % 2], dice.random() < 0.5)


if __name__ == "__main__":
    main()
