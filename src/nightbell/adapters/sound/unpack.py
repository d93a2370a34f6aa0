"""A call's payloads to PCM in a caged child, behind the port `core.sound.Unpacker`.

G.722 by the library of that name, Opus by libsndfile, which reads it out of an Ogg file that lies in memory alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

from nightbell.adapters.sound import cage
from nightbell.adapters.sound.unpack_child import samples
from nightbell.core.capture import Codec
from nightbell.core.sound import MOST_CALL, WIDE, BadSound, SoundUnavailable, Unpacked

_LINE = 100  # bytes of the child's first line, at most
_WHAT = "The sound of the call"
_KEPT = "it is kept as it came"


class CagedUnpacker:
    """Implements `core.sound.Unpacker`. seconds: for one call."""

    def __init__(self, *, seconds: float = 30.0) -> None:
        self._seconds = seconds

    def unpack(self, codec: Codec, payloads: Sequence[bytes]) -> Unpacked:
        """See `core.sound.Unpacker`."""
        wanted = 2 * sum(samples(codec, one) for one in payloads)
        if wanted > 2 * WIDE * MOST_CALL:
            raise BadSound(_WHAT, "it is longer than an hour", _KEPT)
        if not wanted:
            return Unpacked(b"", len(payloads))
        try:
            answer = cage.run_module(
                "nightbell.adapters.sound.unpack_child",
                [codec.value],
                b"".join(struct.pack(">H", len(one)) + one for one in payloads),
                seconds=self._seconds,
                most=wanted + _LINE,
            )
        except cage.Ended as ended:
            raise _ended(ended.how) from ended
        except OSError as error:
            raise SoundUnavailable(
                _WHAT, f"its decoder cannot be started ({error.strerror})", _KEPT
            ) from error
        line, _, pcm = answer.partition(b"\n")
        if len(pcm) != wanted:
            raise BadSound(_WHAT, "the decoder gave less than there is", _KEPT)
        return Unpacked(pcm, int(json.loads(line)["lost"]))


def _ended(how: cage.End) -> BadSound | SoundUnavailable:
    if how is cage.End.REFUSED:
        return SoundUnavailable(
            _WHAT,
            "this system cannot lock its decoder in (it needs Landlock and seccomp)",
            "use Linux 5.13 or newer with landlock in its LSM list",
        )
    if how is cage.End.BROKEN:
        return SoundUnavailable(
            _WHAT, "the libraries G722 and soundfile cannot be loaded", "run script/setup again"
        )
    return BadSound(_WHAT, f"its decoder ended without an answer ({how.value})", _KEPT)
