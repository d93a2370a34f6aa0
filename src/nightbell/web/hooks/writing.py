"""From the steps of a script to a provider's document: addresses of sounds and of the requests that follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from nightbell.core.carriers import EndCall, Gather, GoOn, Hook, PlayClip, RecordCall, Verb
from nightbell.flow.provider import Bye, Onward, Question, Recording, Say, Step
from nightbell.line.carrier_calls import LOOSE
from nightbell.web.hooks.clips import address

LONGEST_LOOSE = 180  # seconds of a recording that is made without any state
_SILENCE = 30


class Writer:
    """base: our public address; own: the plan's recordings by clip."""

    def __init__(self, hook: Hook, base: str, own: Mapping[str, str]) -> None:
        self._hook, self._base, self._own = hook, base, own
        self._root = f"{base}/hooks/{hook.name}"

    def script(self, steps: tuple[Step, ...], turn: int) -> str:
        verbs: list[Verb] = []
        for step in steps:
            verbs += self._verbs(step, turn)
        return self._hook.document(tuple(verbs))

    def _verbs(self, step: Step, turn: int) -> list[Verb]:
        if isinstance(step, Say):
            return [PlayClip(url) for url in self._urls(step.clips)]
        if isinstance(step, Question):
            action = f"{self._root}/step/{turn}/{step.at}"
            asked = Gather(self._urls(step.clips), action, step.seconds, step.most, step.most > 1)
            # Nothing pressed: the provider goes on to the next verb by itself.
            return [asked, GoOn(action)] if step.last else [asked]
        if isinstance(step, Recording):
            action = f"{self._root}/taken/{turn}/{step.at}"
            callback = f"{self._root}/recording/{step.take}"
            # An empty recording is not told to `action`: the provider goes on to the next verb.
            silence = step.silence if self._hook.abilities.silence_ends else 0
            return [RecordCall(action, callback, step.seconds, silence), GoOn(action)]
        if isinstance(step, Onward):
            return [GoOn(f"{self._root}/step/{turn}/{step.at}")]
        return [EndCall()] if isinstance(step, Bye) else []

    def _urls(self, clips: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(url for clip in clips if (url := address(self._base, clip, self._own)))

    def loose(self, silence_ends: bool) -> str:
        """A message can always be left: one prompt and one recording, without any state of ours."""
        return self._hook.document((
            *(PlayClip(url) for url in self._urls(("en/busy-short", "~300"))),
            RecordCall(
                f"{self._root}/bye", f"{self._root}/recording/{LOOSE}", LONGEST_LOOSE,
                _SILENCE if silence_ends else 0,
            ),
            EndCall(),
        ))  # fmt: skip

    def bye(self) -> str:
        """The end of such a call. "Saved" is not said: nothing of ours has it yet."""
        return self._hook.document((*(PlayClip(url) for url in self._urls(("en/goodbye",))), EndCall()))

    def staff(self) -> str:
        """For whoever rings the staff line: a PIN is asked for by the phone alone, so nothing is asked, nor recorded. A
        patient who misdialled hears that nobody listens, and whom to call."""
        words = ("staff-hello", "~300", "emergency-911", "~300", "sorry", "~200", "goodbye", "~600")
        urls = self._urls(
            tuple(word if word[0] == "~" else f"{tongue}/{word}" for tongue in ("en", "es") for word in words)
        )
        return self._hook.document((*(PlayClip(url) for url in urls), EndCall()))

    def nothing(self) -> str:
        return self._hook.document(())
