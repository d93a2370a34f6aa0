"""Registers the room with Django."""

from django.apps import AppConfig


class MailboxConfig(AppConfig):
    name = "nightbell.mailbox"
    label = "mailbox"

    def ready(self) -> None:
        from nightbell.mailbox import ours

        ours.watch()
