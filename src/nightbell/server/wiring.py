"""Which adapter stands behind which port. The one module that knows them (import-linter holds that)."""

from __future__ import annotations

from pathlib import Path

from nightbell.adapters.apprise import AppriseChannel
from nightbell.adapters.aws_kms import AwsKmsProvider
from nightbell.adapters.bounded import BoundedChannel
from nightbell.adapters.carriers import telnyx, twilio
from nightbell.adapters.carriers.wire import Wire
from nightbell.adapters.fhir import FhirRecords
from nightbell.adapters.heartbeat import HttpsHeartbeat
from nightbell.adapters.messaging import telnyx as telnyx_texts
from nightbell.adapters.messaging import twilio as twilio_texts
from nightbell.adapters.outbox import OutboxChannel
from nightbell.adapters.outward import Outward
from nightbell.adapters.push import PushChannel, Vapid, load_or_make
from nightbell.adapters.smtp import SmtpChannel
from nightbell.adapters.sound.decode import SoundFileDecoder
from nightbell.adapters.sound.speak import EspeakSpeaker
from nightbell.adapters.sound.unpack import CagedUnpacker
from nightbell.adapters.speech.whisper import WhisperRecogniser
from nightbell.adapters.transit import TransitProvider
from nightbell.core.carriers import Carrier, Hook
from nightbell.core.clock import SYSTEM
from nightbell.core.config import Config, both
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.core.notice import Channel, Recogniser
from nightbell.core.records import Records, RecordsAway
from nightbell.core.sound import Decoder, Speaker, Unpacker
from nightbell.sealing.errors import KeyUnavailable
from nightbell.sealing.provider import FileKeyProvider, KeyProvider
from nightbell.server.home import DEMO

VAPID_KEY = "vapid.key"  # in NIGHTBELL_KEYS


def key_provider(config: Config) -> KeyProvider:
    """What wraps the period keys: 'file', 'aws-kms:KEY[@REGION]' or 'transit:https://host/MOUNT/KEY'."""
    kind, _, rest = config.key_provider.partition(":")
    if kind == "file" and not rest:
        return FileKeyProvider(config.keys / "kek.key")
    if kind == "aws-kms" and rest:
        key, _, region = rest.partition("@")
        return AwsKmsProvider(key, region)
    if kind == "transit" and rest:
        return TransitProvider(rest, lambda: _token(config), Path(config.key_ca) if config.key_ca else None)
    raise RefusedStart(
        "NIGHTBELL_KEY_PROVIDER",
        f"{kind[:20]!r} is not known",
        "use file, aws-kms:KEY or transit:https://host/MOUNT/KEY",
    )


def _token(config: Config) -> str:
    try:
        return Path(config.key_token).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise KeyUnavailable(
            "NIGHTBELL_KEY_TOKEN_FILE",
            "the file with the token cannot be read",
            "point it at your agent's sink file",
        ) from error


def channels(config: Config, mode: str) -> dict[str, Channel]:
    """Ways to a person by the kind of contact: 'email', 'sms', 'push', 'voice' (by the phone alone), 'other'.

    A demo never leaves this machine but by a channel that somebody set up for it: all else goes to its outbox.
    Each ends within its time, so that none holds up another.
    """
    found: dict[str, Channel] = {}
    if config.smtp:
        found["email"] = SmtpChannel(config.smtp, config.smtp_from, config.smtp_ca or None, SYSTEM)
    if config.sms:
        found["sms"] = _texts(config)
    if mode == DEMO:
        kinds = ("email", "push", "sms", "voice", "other")
        return {
            kind: _bounded(found.get(kind)) or OutboxChannel(config.outbox, SYSTEM, kind) for kind in kinds
        }
    vapid = Vapid(load_or_make(config.keys / VAPID_KEY), config.push_subject)
    found["push"] = PushChannel(vapid, Outward("the push service", private=config.push_local))
    found["other"] = AppriseChannel()
    return {kind: BoundedChannel(channel) for kind, channel in found.items()}


def _bounded(channel: Channel | None) -> Channel | None:
    return None if channel is None else BoundedChannel(channel)


def _texts(config: Config) -> Channel:
    """Raises RefusedStart when half of it is missing, or its sender is none that the provider has."""
    fits = twilio_texts.check_sender if config.sms == "twilio" else telnyx_texts.check_sender
    if not fits(config.sms_from):
        raise RefusedStart("NIGHTBELL_SMS_FROM", "it is no sender of text messages", "write +15035550199")
    if config.sms == "twilio":
        both(config, "twilio_account", "twilio_token")
        return twilio_texts.TwilioSms(
            config.twilio_account, config.twilio_token, config.sms_from, config.url, config.twilio_api
        )
    both(config, "telnyx_public_key", "telnyx_api_key")
    return telnyx_texts.TelnyxSms(
        config.telnyx_api_key, config.sms_from, config.telnyx_messaging_profile, config.url, config.telnyx_api
    )


def vapid_public_key(config: Config) -> str:
    """What a page gives to PushManager.subscribe as `applicationServerKey`: a P-256 point, base64url."""
    return Vapid(load_or_make(config.keys / VAPID_KEY), config.push_subject).public


def recogniser(config: Config, log: Log) -> Recogniser:
    return WhisperRecogniser(config.models, log)


def decoder(_config: Config) -> Decoder:
    return SoundFileDecoder()


def unpacker(seconds: float = 30.0) -> Unpacker:
    """seconds: for one call."""
    return CagedUnpacker(seconds=seconds)


def hooks(config: Config) -> dict[str, Hook]:
    """Providers whose calls come in by webhook; for the web process."""
    found: dict[str, Hook] = {}
    if both(config, "twilio_account", "twilio_token"):
        found["twilio"] = twilio.TwilioHook(config.twilio_account, config.twilio_token)
    if both(config, "telnyx_public_key", "telnyx_api_key"):
        found["telnyx"] = telnyx.TelnyxHook(config.telnyx_public_key)
    return found


def carriers(config: Config) -> dict[str, Carrier]:
    """The same providers' recordings; for the worker."""
    found: dict[str, Carrier] = {}
    if both(config, "twilio_account", "twilio_token"):
        keys = Path(config.twilio_recording_keys) if config.twilio_recording_keys else None
        wire = Wire(config.twilio_api, twilio.MEDIA)
        found["twilio"] = twilio.TwilioCarrier(config.twilio_account, config.twilio_token, wire, keys)
    if both(config, "telnyx_public_key", "telnyx_api_key"):
        found["telnyx"] = telnyx.TelnyxCarrier(config.telnyx_api_key, Wire(config.telnyx_api, telnyx.MEDIA))
    return found


def heartbeat(config: Config) -> HttpsHeartbeat | None:
    """The sign of life to the outside, where somebody listens."""
    return HttpsHeartbeat(config.heartbeat, config.heartbeat_ca) if config.heartbeat else None


def records(config: Config) -> Records | None:
    """The practice's own record system, where one is set."""
    if not config.fhir_url:
        return None
    return FhirRecords(config.fhir_url, lambda: _records_token(config), config.fhir_ca)


def _records_token(config: Config) -> str:
    if not config.fhir_token_file:
        return ""
    try:
        return Path(config.fhir_token_file).read_text("ascii").strip()
    except (OSError, ValueError):
        why = "NIGHTBELL_FHIR_TOKEN_FILE cannot be read"
        raise RecordsAway(why, "correct the path or its permissions", refused=True) from None


def speaker(_config: Config) -> Speaker:
    return EspeakSpeaker()


def speech_state(config: Config) -> str:
    """'ready', or what the person who looks after the system must do. The child checks the hashes itself."""
    return (
        "ready" if (config.models / "whisper-base" / "model.bin").is_file() else "missing: run script/models"
    )
