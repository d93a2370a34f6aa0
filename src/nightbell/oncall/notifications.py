"""The words of a notification: constants per kind and language, a practice code and an opaque link.

This module cannot reach anything that opens a message (import-linter holds that).
"""

from __future__ import annotations

from nightbell.core.notice import NoticeKind, Notification, Rendered

_WORDS: dict[str, dict[NoticeKind, tuple[str, str]]] = {
    "en": {
        NoticeKind.URGENT: ("Nightbell {code}: urgent", "An urgent message is waiting. Log in to take it."),
        NoticeKind.AGAIN: (
            "Nightbell {code}: still waiting",
            "An urgent message has no owner yet. Log in to take it.",
        ),
        NoticeKind.REVIEW: ("Nightbell {code}: needs a look", "A message needs a look. Log in to read it."),
        NoticeKind.ROUTINE: ("Nightbell {code}: new message", "A new message is waiting. Log in to read it."),
        NoticeKind.TEST: ("Nightbell {code}: test", "This is a test. Nobody is waiting."),
        NoticeKind.CHECKPOINT: (
            "Nightbell {code}: log checkpoint",
            "The audit log was signed. Keep this mail.",
        ),
    },
    "es": {
        NoticeKind.URGENT: (
            "Nightbell {code}: urgente",
            "Hay un mensaje urgente. Inicie sesión para tomarlo.",
        ),
        NoticeKind.AGAIN: (
            "Nightbell {code}: sigue en espera",
            "Un mensaje urgente no tiene dueño. Inicie sesión.",
        ),
        NoticeKind.REVIEW: ("Nightbell {code}: por revisar", "Un mensaje necesita revisión. Inicie sesión."),
        NoticeKind.ROUTINE: (
            "Nightbell {code}: mensaje nuevo",
            "Hay un mensaje nuevo. Inicie sesión para leerlo.",
        ),
        NoticeKind.TEST: ("Nightbell {code}: prueba", "Esto es una prueba. Nadie espera."),
        NoticeKind.CHECKPOINT: ("Nightbell {code}: registro", "El registro fue firmado. Guarde este correo."),
    },
}


def render(notification: Notification, url: str) -> Rendered:
    """The exact subject and body. url: the installation's address, without a slash at its end."""
    subject, sentence = _WORDS[notification.language][notification.kind]
    link = f"{url}/n/{notification.token}"
    return Rendered(subject.format(code=notification.practice_code), f"{sentence}\n\n{link}\n")
