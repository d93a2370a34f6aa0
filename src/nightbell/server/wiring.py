"""Which adapter stands behind which port. The one module that knows them (import-linter holds that)."""

from __future__ import annotations

from nightbell.adapters.outbox import OutboxChannel
from nightbell.adapters.smtp import SmtpChannel
from nightbell.adapters.speech.whisper import WhisperRecogniser
from nightbell.core.clock import SYSTEM
from nightbell.core.config import Config
from nightbell.core.log import Log
from nightbell.core.notice import Channel, Recogniser
from nightbell.server.home import DEMO


def channels(config: Config, mode: str) -> dict[str, Channel]:
    """Ways to a person, in the order in which they are tried. A demo never leaves this machine."""
    found: dict[str, Channel] = {}
    if config.smtp:
        found["email"] = SmtpChannel(config.smtp, config.smtp_from, config.smtp_ca or None, SYSTEM)
    if mode == DEMO:
        found["outbox"] = OutboxChannel(config.outbox)
    return found


def recogniser(config: Config, log: Log) -> Recogniser:
    return WhisperRecogniser(config.models, log)


def speech_state(config: Config) -> str:
    """'ready', or what the person who looks after the system must do. The child checks the hashes itself."""
    return (
        "ready" if (config.models / "whisper-base" / "model.bin").is_file() else "missing: run script/models"
    )
