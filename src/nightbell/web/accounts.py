"""Log-in: allauth's doors with our locks. Nobody signs up; every event of a session is in the audit log."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from allauth.account import signals as account_signals
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.userkit import get_user_by_username
from allauth.core.internal import ratelimit
from allauth.mfa import signals as mfa_signals
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.contrib.auth import signals as auth_signals
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from nightbell.audit import service as audit
from nightbell.core import clock
from nightbell.people.models import User
from nightbell.store import vault
from nightbell.web import throttle
from nightbell.web.doors import source_of

FRESH_S = 300
LIMITED_ROWS = timedelta(minutes=1)
_SECOND = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]


def note_event(
    request: HttpRequest | None,
    user: User | None,
    action: str,
    outcome: str = "ok",
    detail: Mapping[str, object] | None = None,
) -> None:
    """One row of a session's life. Somebody unknown goes to the installation's log. Raises AuditClosed."""
    source = source_of(request) if request is not None else ""
    log_id = user.practice_id if user is not None else audit.INSTALLATION
    actor = f"user:{user.login}" if user is not None else "user:unknown"
    if user is None:
        audit.open_log(log_id)
    audit.record(
        log_id,
        actor=actor,
        action=action,
        now=clock.utc_now(),
        outcome=outcome,
        source=source,
        detail=detail,
    )


def note_limited(request: HttpRequest, user: User | None, limit: str, where: str) -> None:
    """A log-in that a limit refused, with nothing tried. At most one row a minute for a person and `where` it came
    from, and one for all log-ins that nobody has: whoever floods the door must not fill the log."""
    who = f"{where}:{user.pk if user is not None else 'unknown'}"
    with transaction.atomic():
        if throttle.first("limited", who, clock.utc_now(), LIMITED_ROWS):
            note_event(request, user, "session:login_failed", "refused", {"limit": limit})


def _owner(credentials: Mapping[str, Any]) -> User | None:
    """Whose log-in was typed, as allauth finds it."""
    typed = str(credentials.get("username", ""))[:60]
    found = get_user_by_username(typed) if typed else None
    return found if isinstance(found, User) else None


def _limit_key(credentials: Mapping[str, Any]) -> str:
    """One key for a person however the log-in is spelt: databases fold letters that str.lower leaves alone, and each
    spelling would have tries of its own."""
    user = _owner(credentials)
    return f"user:{user.pk}" if user else f"typed:{str(credentials.get('username', '')).casefold()[:200]}"


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    """No sign-up, no mail, the client's address from the connection alone."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return source_of(request) or "0.0.0.0"  # noqa: S104  (a key of a throttle, nothing is bound)

    def is_reauthentication_required(self, *, app: str, **more: Any) -> bool:
        """Whoever signed in minutes ago need not prove it again to set up a second factor and see the codes."""
        records = get_authentication_records(self.request, self.request.user)
        if records and clock.utc_now().timestamp() - records[-1]["at"] < FRESH_S:
            return False
        return bool(super().is_reauthentication_required(app=app, **more))

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """What the tight limit counts by: an address and a log-in. By log-in alone, a stranger with five wrong
        passwords would keep a doctor out at three in the morning."""
        return f"{ratelimit.get_ip(request)}:{_limit_key(credentials)}"

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            note_limited(request, _owner(credentials), "address", ratelimit.get_ip(request))
            raise
        self._anywhere = ratelimit.consume(
            request, app="allauth.account", action="login_failed_anywhere", key=_limit_key(credentials)
        )
        if not self._anywhere:
            note_limited(request, _owner(credentials), "anywhere", "anywhere")
            raise self.validation_error("too_many_login_attempts")

    def _rollback_login_failed_rl_usage(self) -> None:
        """A right password counts against nobody."""
        super()._rollback_login_failed_rl_usage()
        if self._anywhere:
            self._anywhere.rollback()

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """What was typed is not kept: people type passwords into the wrong field."""
        note_event(request, _owner(credentials), "session:login_failed", "refused")

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Pages say it themselves."""

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Mail goes through the notification channels, never from here."""


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors: seeds are sealed, and the QR code is plain SVG markup."""

    def encrypt(self, text: str) -> str:
        return vault.seal_secret(text)

    def decrypt(self, encrypted_text: str) -> str:
        return vault.open_secret(encrypted_text)

    def get_totp_label(self, user: User) -> str:
        return user.login

    def build_totp_svg(self, url: str) -> str:
        """A QR code as one path, with classes instead of styles (the CSP forbids styles)."""
        from qrcode.main import QRCode

        code = QRCode(border=2)
        code.add_data(url)
        code.make(fit=True)
        grid = code.get_matrix()
        path = "".join(
            f"M{x} {y}h1v1h-1z" for y, line in enumerate(grid) for x, dark in enumerate(line) if dark
        )
        size = len(grid)
        return (
            f'<svg class="nb-qr" viewBox="0 0 {size} {size}" role="img" aria-label="QR code for your authenticator app">'
            f'<rect width="{size}" height="{size}" class="paper"/><path d="{path}" class="ink"/></svg>'
        )

    def _get_site_name(self) -> str:
        return "Nightbell"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """The relying party is the host of NIGHTBELL_URL, whatever Host header came (DESIGN decision 12)."""
        from urllib.parse import urlsplit

        from nightbell.core.config import load

        return {"id": urlsplit(load().url).hostname or "localhost", "name": "Nightbell"}

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """The last second factor stays: without one nothing may be seen."""
        if authenticator.type == Authenticator.Type.RECOVERY_CODES:
            return True
        others = Authenticator.objects.filter(user=authenticator.user, type__in=_SECOND)
        return bool(others.exclude(pk=authenticator.pk).exists())


def _on_login(sender: object, request: HttpRequest, user: User, **more: Any) -> None:
    try:
        note_event(request, user, "session:login")
    except Exception:
        request.session.flush()  # nobody is inside whose coming is not in the log
        raise


def _on_logout(sender: object, request: HttpRequest, user: User | None, **more: Any) -> None:
    if isinstance(user, User):
        with contextlib.suppress(Exception):  # leaving must always be possible
            note_event(request, user, "session:logout")


def _on_password(sender: object, request: HttpRequest, user: User, **more: Any) -> None:
    note_event(request, user, "session:password_changed")


def _on_factor(what: str) -> Any:
    def tell(sender: object, request: HttpRequest, user: User, **more: Any) -> None:
        note_event(request, user, f"session:authenticator_{what}")

    return tell


_FACTORS = {what: _on_factor(what) for what in ("added", "removed", "reset")}


def connect() -> None:
    """Hear of every event once."""
    account_signals.user_logged_in.connect(_on_login, dispatch_uid="nb_login")
    auth_signals.user_logged_out.connect(_on_logout, dispatch_uid="nb_logout")
    account_signals.password_changed.connect(_on_password, dispatch_uid="nb_password")
    for what, receiver in _FACTORS.items():
        signal = getattr(mfa_signals, f"authenticator_{what}")
        signal.connect(receiver, dispatch_uid=f"nb_factor_{what}")
