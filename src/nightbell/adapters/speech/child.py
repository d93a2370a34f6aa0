"""The speech process: sound in, words out, and nothing else within its reach.

Started by whisper.py as `python -m nightbell.adapters.speech.child MODEL [THREADS]` with clean
environment. It gives up network, files, memory dumps and priority before it loads foreign code, holds no
key, and ends at once when its worker does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nightbell.adapters.speech import wire
from nightbell.core import sandbox
from nightbell.core.errors import RefusedStart

if TYPE_CHECKING:
    from nightbell.adapters.speech.guard import Stretch
    from nightbell.adapters.speech.sound import Samples

LANGUAGES = ("en", "es")
_LEFT_OUT = ("av", "huggingface_hub")
_RATES = (8000, 16000)  # of the sound: as it comes from G.711, and from the others
_SHORTEST = 0.1  # seconds that can hold a word


def confine(model: Path) -> None:
    """Lock this process in, for good. Raises RefusedStart where the system cannot keep it from the network."""
    os.nice(15)
    _die_first()
    sandbox.hide_memory()
    own_network = sandbox.leave_network()
    sandbox.restrict_files(read=[*sandbox.system_paths(), model], write=[], forbid_tcp=True)
    if not sandbox.forbid_sockets() and not own_network:
        raise RefusedStart(
            "the speech engine's sandbox",
            "this system allows neither a network namespace nor a seccomp filter",
            "allow unprivileged user namespaces or seccomp for the service",
        )


def _die_first() -> None:
    """When memory runs out the system takes this process, not the phone."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


def stand_in(names: tuple[str, ...] = _LEFT_OUT) -> None:
    """Put empty modules where faster_whisper imports what we never call.

    av decodes containers and its wheels carry GPL parts; huggingface_hub downloads models.
    """
    for name in names:
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        sys.modules[name] = module


class Ear:
    """The loaded model."""

    def __init__(self, model: Path, threads: int) -> None:
        stand_in()
        from faster_whisper import WhisperModel

        self._model: Any = WhisperModel(
            str(model), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> dict[str, object]:
        """One message to {"language", "words"}. See wire.py."""
        from nightbell.adapters.speech import guard, sound

        samples = sound.from_pcm(pcm)
        length = len(samples) / rate
        if length < _SHORTEST or sound.loudest(samples, rate=rate) < guard.QUIET:
            return {"language": language or LANGUAGES[0], "words": []}
        audio = samples if rate == sound.MODEL_RATE else sound.upsample(samples)
        spoken = language if language in LANGUAGES else self._language(audio)
        words = guard.believe(self._stretches(samples, rate, audio, spoken), length)
        return {"language": spoken, "words": wire.words_out(words)}

    def _language(self, audio: Samples) -> str:
        _, _, chances = self._model.detect_language(audio)
        likely = dict(chances)
        return max(LANGUAGES, key=lambda name: float(likely.get(name, 0.0)))

    def _stretches(self, samples: Samples, rate: int, audio: Samples, language: str) -> list[Stretch]:
        from nightbell.adapters.speech import guard, sound
        from nightbell.core.notice import Word

        segments, _ = self._model.transcribe(
            audio,
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        return [
            guard.Stretch(
                tuple(
                    Word(w.word, float(w.start), float(w.end), float(w.probability)) for w in s.words or ()
                ),
                float(s.avg_logprob),
                float(s.no_speech_prob),
                sound.loudest(samples, s.start, s.end, rate=rate),
            )
            for s in segments
        ]


def _read_requests(stream: BinaryIO, requests: queue.SimpleQueue[tuple[str | None, int, bytes]]) -> None:
    """Runs in a thread of its own, so that the worker's end is noticed in the middle of a message."""
    try:
        while True:
            asked = wire.get_json(stream)
            language, rate = asked.get("language"), asked.get("rate")
            rate = rate if rate in _RATES else _RATES[0]
            requests.put((language if isinstance(language, str) else None, rate, wire.get(stream)))
    finally:
        os._exit(0)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes under numbers of their own: what a library prints must not enter the protocol."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


def serve(source: BinaryIO, answers: BinaryIO, model: Path, threads: int) -> None:
    """Answer until the worker closes the pipe."""
    try:
        confine(model)
    except RefusedStart as refusal:
        wire.put_json(answers, {"refused": [refusal.what, refusal.why, refusal.mend]})
        return
    requests: queue.SimpleQueue[tuple[str | None, int, bytes]] = queue.SimpleQueue()
    ear = Ear(model, threads)
    wire.put_json(answers, {"ready": True})
    threading.Thread(target=_read_requests, args=(source, requests), daemon=True).start()
    while True:
        language, rate, pcm = requests.get()
        try:
            answer = ear.hear(pcm, language, rate)
        except Exception as error:  # the worker logs the type; the text may hold anything
            answer = {"failed": type(error).__name__}
        wire.put_json(answers, answer)


def main(arguments: list[str]) -> int:
    source, answers = _private_pipes()
    serve(source, answers, Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 2)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
