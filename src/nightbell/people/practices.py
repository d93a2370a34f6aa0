"""Making practices and users: by set-up and by the command line."""

from __future__ import annotations

import secrets
import string
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core.errors import NightbellError
from nightbell.people import contacts, covers
from nightbell.people.models import ApiToken, Practice, User
from nightbell.people.roles import Role


class BadPerson(NightbellError):
    """A practice or a user that cannot be made as asked."""


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def new_code() -> str:
    """Two letters and two digits that no practice has: all that a notification says of it."""
    while True:
        letters = "".join(secrets.choice(string.ascii_uppercase) for _ in range(2))
        code = f"{letters}{secrets.randbelow(100):02d}"
        if not Practice.objects.filter(code=code).exists():
            return code


def add_practice(name: str, zone: str, number: str, actor: str, now: datetime) -> Practice:
    """Make a practice with its audit log. The first one takes unrouted calls."""
    name = name.strip()
    if not 1 <= len(name) <= 120 or not name.isprintable():
        raise BadPerson(
            "The practice was not made",
            "its name is empty, too long or broken",
            "give a name of 1 to 120 characters",
        )
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadPerson(
            "The practice was not made", f"{zone!r} is no time zone", "use e.g. America/Chicago"
        ) from error
    with transaction.atomic():
        practice = Practice.objects.create(
            code=new_code(), name=name, zone=zone, number=number, created_at=now,
            takes_unrouted=not Practice.objects.exists(),
        )  # fmt: skip
        audit.open_log(practice.id)
        audit.record(practice.id, actor=actor, action="practice:create", now=now)
    return practice


def add_user(
    practice: Practice, login: str, name: str, role: str, email: str, password: str, actor: str, now: datetime
) -> User:
    """Make a person with a log-in of their own. A second factor is asked for at the first log-in."""
    login, name = login.strip().lower(), name.strip()
    if role not in {r.value for r in Role}:
        raise BadPerson("The user was not made", f"{role!r} is no role", "use one of: " + ", ".join(Role))
    if (
        not login
        or not name
        or not name.isprintable()
        or len(login) > 60
        or not login.replace(".", "").replace("-", "").isalnum()
    ):
        raise BadPerson(
            "The user was not made", "the login or the name is missing or odd", "use letters, digits, . and -"
        )
    if email and not _is_address(email):
        raise BadPerson("The user was not made", "that is no email address", "correct it")
    if User.objects.filter(login=login).exists():
        raise BadPerson("The user was not made", f"the login {login} is taken", "choose another")
    try:
        validate_password(password)
    except ValidationError as error:
        raise BadPerson(
            "The user was not made", " ".join(error.messages), "choose a longer password"
        ) from error
    user = User(login=login, name=name, role=role, email=email, practice=practice)
    user.set_password(password)  # takes its time: before the write lock is held
    with transaction.atomic():
        user.save(force_insert=True)
        contacts.enrol(user, now)
        audit.record(
            practice.id, actor=actor, action="user:create", now=now, detail={"user": login, "role": role}
        )
    return user


def person(login: str) -> User:
    """The user of a login. Raises BadPerson."""
    user = User.objects.select_related("practice").filter(login=login.strip().lower()).first()
    if user is None:
        raise BadPerson("Nothing was changed", f"there is no login {login[:40]!r}", "check the spelling")
    if user.home_id is not None:
        raise BadPerson(
            "Nothing was changed", "this is where somebody of another practice covers", "use their own login"
        )
    return user


def lock_out(user: User, actor: str, now: datetime) -> None:
    """No log-in, no token, no alert from now on; open sessions end with their next request. Covering ends too."""
    with transaction.atomic():
        covers.end_all(user, actor, now)
        User.objects.filter(pk=user.pk).update(is_active=False)
        ApiToken.objects.filter(user=user, revoked_at=None).update(revoked_at=now)
        audit.record(user.practice_id, actor=actor, action="user:lock", now=now, detail={"user": user.login})


def start_anew(user: User, password: str, actor: str, now: datetime) -> None:
    """A new password, no second factor, let in again: for a lost phone, after asking who calls.

    Sessions end and tokens are revoked: whoever has the phone may have those too.
    """
    hashed = make_password(password)
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(password=hashed, is_active=True)
        user.authenticator_set.all().delete()  # type: ignore[attr-defined]
        ApiToken.objects.filter(user=user, revoked_at=None).update(revoked_at=now)
        audit.record(user.practice_id, actor=actor, action="user:reset", now=now, detail={"user": user.login})
