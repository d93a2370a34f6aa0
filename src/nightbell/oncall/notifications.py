"""The words of a notification: constants per kind and language, a practice code and an opaque link.

This module cannot reach anything that opens a message (import-linter holds that). What may leave is a closed grammar,
made of the same constants (`pattern`, `grammar`).
"""

from __future__ import annotations

import hashlib
import re
from functools import cache

from nightbell.core import gsm7
from nightbell.core.notice import OF_A_MESSAGE, PRESSING, NoticeKind, Notification, Rendered

LANGUAGES = ("en", "es")
MEDIA = ("subject", "body", "short", "voice")
_K = NoticeKind

# Per kind: a mail's subject after the practice's code, its sentence, and a text message after the code. A text that
# ends with a colon is followed by the link. Text messages keep to GSM-7, which has no á, í, ó, ú: one of them would
# cut the message into parts of 70 characters.
_WORDS: dict[str, dict[NoticeKind, tuple[str, str, str]]] = {
    "en": {
        _K.URGENT: (
            "urgent", "An urgent message is waiting. Log in to take it.", "urgent message waiting. Log in:",
        ),
        _K.AGAIN: (
            "still waiting", "An urgent message has no owner yet. Log in to take it.",
            "urgent message still waiting. Log in:",
        ),
        _K.REVIEW: ("needs a look", "A message needs a look. Log in to read it.", "a message needs a look. Log in:"),
        _K.ROUTINE: ("new message", "A new message is waiting. Log in to read it.", "new message. Log in:"),
        _K.TEST: ("test", "This is a test. Nobody is waiting.", "this is a test. Nobody is waiting."),
        _K.CHECKPOINT: ("log checkpoint", "The audit log was signed. Keep this mail.", "the audit log was signed."),
        _K.GAP: (
            "nobody on call", "A shift ahead has nobody in it. Log in to fill it.",
            "a shift ahead has nobody in it. Log in:",
        ),
        _K.ASKED: (
            "asked to take a shift",
            "You are asked to take a shift. Log in to answer within 4 minutes: then the next one is asked.",
            "you are asked to take a shift, answer within 4 minutes. Log in:",
        ),
        _K.SWAP: (
            "shift swap", "There is news of a shift swap. Log in to see it.", "news of a shift swap. Log in:",
        ),
        _K.COVER: (
            "asked to cover", "Another practice asks you to cover. Log in to answer.",
            "another practice asks you to cover. Log in:",
        ),
        _K.LINE_TEST: (
            "line test failed", "The evening test of the line failed. Log in to see why.",
            "the evening test of the line failed. Log in:",
        ),
        _K.UNREACHED: (
            "call back again", "Somebody still waits to be called back. Log in to go on.",
            "a call back is still open. Log in:",
        ),
        _K.WEEKLY: (
            "the week", "The numbers of the week are ready. Log in to see them.", "the week's numbers are ready. Log in:",
        ),
        _K.DRILL: (
            "drill", "This is a drill. Nobody is waiting. Log in to take it.", "this is a drill, nobody is waiting. Log in:",
        ),
        _K.WAYS: (
            "how you are told", "A way by which people are told was added or has ended, or a PIN was locked. Log in to see.",
            "a way to be told was added or has ended, or a PIN was locked. Log in:",
        ),
        _K.VERIFY: (
            "your code", "Your code is {pin}. Type it into Nightbell, and tell it to nobody.",
            "your code is {pin}. Tell it to nobody. Reply STOP to end.",
        ),
    },
    "es": {
        _K.URGENT: (
            "urgente", "Hay un mensaje urgente. Inicie sesión para tomarlo.", "hay un mensaje urgente. Entre:",
        ),
        _K.AGAIN: (
            "sigue en espera", "Un mensaje urgente no tiene dueño. Inicie sesión.",
            "un mensaje urgente sigue en espera. Entre:",
        ),
        _K.REVIEW: ("por revisar", "Un mensaje necesita revisión. Inicie sesión.", "un mensaje por revisar. Entre:"),
        _K.ROUTINE: (
            "mensaje nuevo", "Hay un mensaje nuevo. Inicie sesión para leerlo.", "hay un mensaje nuevo. Entre:",
        ),
        _K.TEST: ("prueba", "Esto es una prueba. Nadie espera.", "esto es una prueba. Nadie espera."),
        _K.CHECKPOINT: ("registro", "El registro fue firmado. Guarde este correo.", "el registro fue firmado."),
        _K.GAP: (
            "nadie de guardia", "Hay un turno sin nadie asignado. Inicie sesión para corregirlo.",
            "hay un turno sin nadie asignado. Entre:",
        ),
        _K.ASKED: (
            "le piden un turno",
            "Le piden que tome un turno. Inicie sesión para responder en 4 minutos: después se pregunta a otra persona.",
            "le piden que tome un turno, responda en 4 minutos. Entre:",
        ),
        _K.SWAP: (
            "cambio de turno", "Hay novedades de un cambio de turno. Inicie sesión para verlas.",
            "novedades de un cambio de turno. Entre:",
        ),
        _K.COVER: (
            "guardias", "Otro consultorio le pide que cubra guardias. Inicie sesión para responder.",
            "otro consultorio le pide que cubra guardias. Entre:",
        ),
        _K.LINE_TEST: (
            "falló la prueba", "La prueba nocturna de la línea falló. Inicie sesión para ver la causa.",
            "la prueba nocturna no se pudo completar. Entre:",
        ),
        _K.UNREACHED: (
            "llame otra vez", "Alguien sigue en espera de su llamada. Inicie sesión para continuar.",
            "queda una llamada pendiente. Entre:",
        ),
        _K.WEEKLY: (
            "la semana", "Los datos de la semana están listos. Inicie sesión para verlos.",
            "ya se pueden ver los datos de la semana. Entre:",
        ),
        _K.DRILL: (
            "simulacro", "Esto es un simulacro. Nadie espera. Inicie sesión para tomarlo.",
            "esto es un simulacro, nadie espera. Entre:",
        ),
        _K.WAYS: (
            "sus avisos", "Una forma de recibir avisos es nueva o ya no sirve, o se bloqueó una clave. Inicie sesión para verlo.",
            "una forma de recibir avisos es nueva o ya no sirve, o hay una clave bloqueada. Entre:",
        ),
        _K.VERIFY: (
            "su código", "Su código es {pin}. Escríbalo en Nightbell y no lo diga a nadie.",
            "su clave es {pin}. No la diga a nadie. Responda STOP para terminar.",
        ),
    },
}  # fmt: skip

# Where a link leads that has no message: a page of ours, which asks to log in first.
_PAGES = {
    _K.GAP: "/oncall/", _K.ASKED: "/oncall/", _K.SWAP: "/oncall/", _K.COVER: "/account/covering/",
    _K.CHECKPOINT: "/audit/", _K.WEEKLY: "/numbers/",
}  # fmt: skip

# What a phone call says. 'practice-name' is the practice's own recording of its name, which callers hear too; where
# there is none, 'practice-fallback' ("your doctor's office") is played. There are no clips of letters for the code.
_ALERT = ("alert-hello", "practice-name", "~200")
_SPOKEN: dict[NoticeKind, tuple[str, ...]] = {
    _K.URGENT: (*_ALERT, "alert-urgent"),
    _K.AGAIN: (*_ALERT, "alert-urgent", "~150", "alert-again"),
    _K.REVIEW: (*_ALERT, "alert-review"),
    _K.ROUTINE: (*_ALERT, "alert-routine"),
    _K.UNREACHED: (*_ALERT, "alert-review"),
    _K.DRILL: ("drill-hello", "~200", *_ALERT, "alert-urgent"),
    _K.TEST: ("test-message",),
    _K.LINE_TEST: ("test-failed",),
    _K.GAP: ("gap-warning",),
    _K.VERIFY: ("verify-hello", "~200", "verify-code", "{pin}", "~300", "verify-repeat", "{pin}"),
}
# What a page's service worker shows for a push, which is empty and so cannot say of what kind it is.
PUSHED = {
    "en": ("Nightbell", "Something needs you. Open Nightbell to see it."),
    "es": ("Nightbell", "Algo le necesita. Abra Nightbell para verlo."),
}
_LOG_IN = ("alert-machine",)  # "You have an alert. Please log in.": for all that has no words of its own


def render(notification: Notification, url: str) -> Rendered:
    """The exact words in every medium. url: the installation's address, without a slash at its end."""
    kind, language, pin = notification.kind, notification.language, notification.code
    subject, sentence, _ = _WORDS[language][kind]
    link = _link(notification, url)
    return Rendered(
        f"Nightbell {notification.practice_code}: {subject}",
        sentence.format(pin=pin) + (f"\n\n{link}\n" if link else "\n"),
        _short(notification, link),
        tuple(_clips(kind, language, pin)),
        hashlib.sha256(f"{kind in PRESSING}:{notification.token or kind}".encode()).hexdigest()[:32],
        kind in PRESSING,
    )


def _link(notification: Notification, url: str) -> str:
    """A code comes without one: who is asked for a code must not learn to follow links."""
    if notification.kind is NoticeKind.VERIFY:
        return ""
    if notification.token:
        return f"{url}/n/{notification.token}"
    return url + _PAGES.get(notification.kind, "/")


def _short(notification: Notification, link: str) -> str:
    """One segment. An address that is too long for it is left out: a text of two parts may come late, or by halves."""
    words = _WORDS[notification.language][notification.kind][2].format(pin=notification.code)
    text = f"Nightbell {notification.practice_code}: {words}"
    if not text.endswith(":"):
        return text
    whole = f"{text} {link}"
    length = gsm7.septets(whole)
    return whole if length is not None and length <= gsm7.SEGMENT else f"{text[:-1]}."


def _clips(kind: NoticeKind, language: str, pin: str) -> list[str]:
    clips: list[str] = []
    for clip in _SPOKEN.get(kind, _LOG_IN):
        named = _digits(pin) if clip == "{pin}" else [clip]
        clips += [one if one.startswith("~") else f"{language}/{one}" for one in named]
    return clips


def _digits(pin: str) -> list[str]:
    """Digit by digit, a pause in the middle; the voice falls at the end."""
    spoken = [f"digit-{digit}" for digit in pin[:-1]] + [f"digit-{pin[-1]}-end"]
    return [*spoken[:3], "~200", *spoken[3:]]


def pattern(kind: NoticeKind, language: str, medium: str, url: str = "") -> re.Pattern[str]:
    """What may leave, whole: match it with `fullmatch`. medium: of MEDIA; 'voice' is clips with blanks between.

    url: the installation's address; '': any.
    """
    subject, sentence, short = (re.escape(one) for one in _WORDS[language][kind])
    code, home = "[A-Z]{2}[0-9]{2}", re.escape(url) if url else r"https://[A-Za-z0-9.:\[\]-]+"
    page = "" if kind in OF_A_MESSAGE else f"|{re.escape(_PAGES.get(kind, '/'))}"
    link = f"{home}(?:/n/[A-Za-z0-9_-]{{22}}{page})"
    if medium == "subject":
        return re.compile(f"Nightbell {code}: {subject}")
    if medium == "body":
        return re.compile(_pin(sentence) + ("\n" if kind is NoticeKind.VERIFY else f"\n\n{link}\n"))
    if medium == "short":
        # With its link, or without it where the address is too long.
        end = f"(?::\\ {link}|\\.)" if short.endswith(":") else ""
        return re.compile(f"Nightbell {code}: {_pin(short.removesuffix(':'))}{end}")
    return re.compile(_spoken(kind, language))


def _pin(escaped: str) -> str:
    return escaped.replace(re.escape("{pin}"), "[0-9]{6}")


def _spoken(kind: NoticeKind, language: str) -> str:
    one = f"{language}/digit-[0-9]"
    digits = " ".join([one, one, one, "~200", one, one, f"{one}-end"])
    clips = " ".join(
        clip if clip.startswith(("~", "{")) else f"{language}/{clip}" for clip in _SPOKEN.get(kind, _LOG_IN)
    )
    return re.escape(clips).replace(re.escape("{pin}"), digits)


@cache
def grammar(url: str = "") -> tuple[re.Pattern[str], ...]:
    """All that may ever leave, for tests and evidence: one pattern per kind, language and medium."""
    return tuple(
        pattern(kind, language, one, url) for kind in NoticeKind for language in LANGUAGES for one in MEDIA
    )
