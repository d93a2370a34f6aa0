"""A message's sound in the store: a WAV under the message's key, or, until it can be decoded, its payloads."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from nightbell.sealing.playback import PlaybackReader
from nightbell.store import vault

if TYPE_CHECKING:
    from nightbell.mailbox.models import Message, Talk

WAV_HEADER = 44
_RATE_AT = 24  # in it: samples a second, u32


def playback_ad(message_id: str, practice_id: str) -> bytes:
    """Associated data of the playback object."""
    return f"playback|{message_id}|{practice_id}".encode()


def payloads_ad(message_id: str, practice_id: str) -> bytes:
    """As playback_ad, of sound that is not decoded: the one is never taken for the other."""
    return f"payloads|{message_id}|{practice_id}".encode()


def talk_ad(talk_id: str, message: Message) -> bytes:
    """As playback_ad, of a call back's recording: under the same key, and never taken for the message's own sound."""
    return f"talk|{talk_id}|{message.id}|{message.practice_id}".encode()


def talk_reader(talk: Talk, message: Message, key: bytes) -> PlaybackReader:
    """As reader, of a call back's recording."""
    blobs = vault.blobs()
    return PlaybackReader(
        key,
        talk_ad(talk.id, message),
        lambda offset, size: blobs.read_range(message.practice_id, talk.id, offset, size),
        talk.audio_bytes,
    )


def reader(message: Message, key: bytes, *, decoded: bool = True) -> PlaybackReader:
    """Opens what is stored. Raises a SealError, OSError."""
    blobs = vault.blobs()
    bound = playback_ad if decoded else payloads_ad
    return PlaybackReader(
        key,
        bound(message.id, message.practice_id),
        lambda offset, size: blobs.read_range(message.practice_id, message.id, offset, size),
        message.audio_bytes,
    )


def pcm(message: Message, key: bytes) -> tuple[bytes, int]:
    """All of the sound, 16 bit PCM, mono, and its rate. For a message that has a WAV. Raises as `reader`."""
    wav = reader(message, key).read()
    return wav[WAV_HEADER:], int(struct.unpack_from("<I", wav, _RATE_AT)[0])
