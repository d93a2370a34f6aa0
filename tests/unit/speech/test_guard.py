"""What is believed of the model, and what is not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.adapters.speech import guard
from nightbell.core.notice import UNHEARD, Word


def _words(text: str, confidence: float = 0.9) -> tuple[Word, ...]:
    return tuple(Word(word, n * 0.5, n * 0.5 + 0.4, confidence) for n, word in enumerate(text.split()))


def _stretch(
    text: str, weight: float = -0.2, no_speech: float = 0.01, loudness: float = -20
) -> guard.Stretch:
    return guard.Stretch(_words(text), weight, no_speech, loudness)


def _believed(*stretches: guard.Stretch) -> str:
    return " ".join(word.text for word in guard.believe(stretches, 600.0))


def test_it_keeps_what_was_plainly_said() -> None:
    assert _believed(_stretch("My chest hurts. Thank you.")) == "My chest hurts. Thank you."


def test_it_drops_words_where_nobody_can_be_heard() -> None:
    assert _believed(_stretch("Thanks for watching!", loudness=-70)) == ""
    assert _believed(_stretch("I hear voices", weight=-0.9, no_speech=0.9)) == ""


def test_it_believes_a_thank_you_only_when_the_sound_speaks_for_it() -> None:
    assert _believed(_stretch("Thank you.")) == "Thank you."
    assert _believed(_stretch("Thank you.", no_speech=0.4)) == ""
    assert _believed(_stretch("Gracias por ver el video.", weight=-0.9)) == ""


def test_it_keeps_doubtful_speech_for_a_person_to_check() -> None:
    assert _believed(_stretch("I cannot breathe", weight=-1.2, no_speech=0.2)) == "I cannot breathe"


def test_it_marks_where_it_only_guessed_instead_of_inventing_words() -> None:
    guess = guard.Stretch(_words("I have to go to the airport", 0.1), -1.0, 0.1, -20)
    (mark,) = guard.believe([guess], 600.0)
    assert mark == Word(UNHEARD, 0.0, 3.4, 0.0)


def test_it_cuts_a_phrase_that_runs_in_circles_and_trusts_it_little() -> None:
    words = guard.out_of_circles(_words("hello " + "I am here " * 30 + "goodbye"))
    assert [word.text for word in words] == ["hello", "I", "am", "here", "I", "am", "here", "goodbye"]
    assert [word.confidence for word in words] == [0.9, *[guard.DOUBTFUL] * 6, 0.9]


def test_it_leaves_a_cry_for_help_as_it_is() -> None:
    assert len(guard.out_of_circles(_words("help help help please please come come come come"))) == 9


_TIMES = st.floats(-5, 700, allow_nan=False)


@settings(deadline=None)
@given(st.lists(st.builds(Word, st.sampled_from([" a", "b.", " "]), _TIMES, _TIMES, st.floats(-1, 2))))
def test_it_makes_times_rise_within_the_message(words: list[Word]) -> None:
    kept = guard.in_order(words, 60.0)
    starts = [word.start for word in kept]
    assert starts == sorted(starts)
    assert all(0 <= word.start <= word.end <= 60 and 0 <= word.confidence <= 1 for word in kept)
    assert len(kept) == sum(1 for word in words if word.text.strip())
