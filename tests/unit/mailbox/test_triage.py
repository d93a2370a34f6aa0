"""How urgent, and why: words may raise, never lower, and what is doubtful goes to a person."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.core.notice import UNHEARD, Word
from nightbell.mailbox.redflags import LABELS
from nightbell.mailbox.triage import Triage, at_intake, higher, signs, triage


def said(text: str, confidence: float = 0.9) -> list[Word]:
    return [Word(word, n * 0.5, n * 0.5 + 0.4, confidence) for n, word in enumerate(text.split())]


def judged(text: str, confidence: float = 0.9) -> Triage:
    return triage(False, said(text, confidence))


SIGNS = """
cardiac: I've been having chest pain since this morning
cardiac: there is a lot of pressure on my chest
cardiac: he says his left arm feels numb
cardiac: me duele mucho el pecho desde ayer
breathing: he can't catch his breath
breathing: she is not breathing well at all
breathing: her lips are turning blue
breathing: no puedo respirar bien doctor
breathing: mi papá se está ahogando
stroke: her face is drooping on one side
stroke: his speech is slurred since noon
stroke: it is the worst headache of my life
stroke: creo que es un derrame cerebral
consciousness: my mother passed out in the kitchen
consciousness: I can't wake him up
consciousness: mi hijo tuvo una convulsión hoy
bleeding: he is throwing up blood
bleeding: the bleeding won't stop please help
bleeding: no deja de sangrar la herida
allergy: her throat is closing after the shot
allergy: tiene la lengua muy hinchada hoy
self_harm: I don't really want to be here anymore
self_harm: I've been thinking about killing myself
self_harm: she took too many of her pills
self_harm: ya no quiero vivir más
obstetric: I'm pregnant and there is bleeding
obstetric: the baby has stopped moving since yesterday
obstetric: estoy embarazada y estoy sangrando
infant_fever: my three weeks old has a fever
infant_fever: she has a fever of 104
infant_fever: mi bebé de dos meses tiene fiebre
trauma: grandma fell and hit her head
trauma: mi abuela se cayó de las escaleras
pain: I am in unbearable pain right here
pain: tengo un dolor muy fuerte aquí
caller_says: please call an ambulance for us
caller_says: es una emergencia por favor
""".strip().splitlines()


@pytest.mark.parametrize("line", SIGNS)
def test_it_raises_a_sign_to_urgent_and_names_its_group(line: str) -> None:
    label, text = line.split(": ", 1)
    decision = judged(text)
    assert decision.urgency == "urgent"
    assert label in {reason.label for reason in decision.reasons if reason.kind == "red_flag"}


def test_it_has_an_example_of_every_group() -> None:
    assert {line.split(":")[0] for line in SIGNS} == set(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "Hi this is Maria Gonzalez I need a refill on my lisinopril please",
        "I'm calling about a bill I received for two hundred dollars",
        "I would like to move my appointment from Tuesday to Friday thank you",
        "My number is 5 5 5 2 9 1 1 4 7 9 again my name is George",
        "I have a cough and a mild sore throat since Monday",
        "Hola llamo para cambiar mi cita del martes muchas gracias",
        "Necesito una receta nueva para la presión arterial por favor",
    ],
)
def test_it_leaves_a_plain_message_routine(text: str) -> None:
    assert judged(text) == Triage("routine")


@pytest.mark.parametrize(
    "text",
    [
        "I don't have any chest pain or shortness of breath but I do have a cough",
        "no chest pain, fever or trouble breathing, just a refill",
        "It isn't an emergency, call me when you can",
        "she has never had a seizure in her life",
        "no tengo dolor de pecho ni fiebre, solo quiero una cita",
    ],
)
def test_it_gives_a_denied_sign_to_a_person(text: str) -> None:
    decision = judged(text)
    assert decision.urgency == "review"
    assert {reason.kind for reason in decision.reasons} == {"denied"}


@pytest.mark.parametrize(
    "text",
    [
        "I'm not feeling well, chest pain since noon",
        "no relief from the chest pain since last night",
        "I don't have chest pain but my face is drooping",
        "I had no bleeding on Monday. Now the bleeding is heavy",
        "no bleeding at first and then she was bleeding a lot",
        "she is not breathing and we do not know what to do",
        "No. Chest pain is what he has",
    ],
)
def test_it_is_not_fooled_by_another_negative(text: str) -> None:
    assert judged(text).urgency == "urgent"


def test_it_points_at_the_words_and_their_times() -> None:
    words = said("hello I have had chest pain, since noon")
    (reason,) = signs(words)
    assert reason.indexes == (4, 5)
    assert (reason.start, reason.end) == (words[4].start, words[5].end)


def test_it_reads_words_as_the_recogniser_writes_them() -> None:
    assert judged("He can’t breathe! Lips -blue now. Please come").urgency == "urgent"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (None, "not_transcribed"),
        ([], "empty"),
        (said("call me"), "short"),
        (said("something that was heard very badly", 0.4), "unsure"),
    ],
)
def test_it_gives_what_cannot_be_trusted_to_a_person(words: list[Word] | None, kind: str) -> None:
    decision = triage(False, words)
    assert decision.urgency == "review"
    assert kind in {reason.kind for reason in decision.reasons}


def test_it_sends_a_person_to_where_nothing_could_be_made_out() -> None:
    decision = triage(
        False, [*said("I would like an appointment on"), Word(UNHEARD, 4, 9, 0.0), *said("thanks bye now")]
    )
    assert decision.urgency == "review"
    assert [(reason.kind, reason.start, reason.end, reason.indexes) for reason in decision.reasons] == [
        ("unsure", 4, 9, (6,))
    ]


def test_it_forgives_a_few_badly_heard_words() -> None:
    assert triage(False, [*said("I would like to come in on"), *said("um Friday", 0.1)]).urgency == "routine"


def test_it_takes_the_engines_own_doubt() -> None:
    assert triage(False, said("I would like an appointment"), unsure=True).urgency == "review"


def test_it_needs_no_words_for_the_key() -> None:
    assert at_intake(True).urgency == "urgent"
    assert at_intake(False).urgency == "routine"
    assert [higher(a, b) for a, b in itertools.product(("routine", "urgent"), ("review",))] == [
        "review",
        "urgent",
    ]  # type: ignore[arg-type]


_WORDS = st.lists(
    st.builds(Word, st.text(max_size=12), st.floats(0, 60), st.floats(0, 60), st.floats(0, 1)), max_size=40
)
_PARTS = st.sampled_from(
    [
        "no",
        "not",
        "chest",
        "pain",
        "heart",
        "bleeding",
        "a",
        "lot",
        "fever",
        "baby",
        "the",
        "my",
        "can't",
        "breathe",
        "stop",
        "and,",
        "but.",
        "old",
        "weeks",
        "fell",
        "head",
        "sin",
        "dolor",
        "de",
        "pecho",
        "respirar",
        "sangre",
        "hinch",
        "pregnant",
        "never",
        "had",
    ]
)
_TALK = st.lists(_PARTS, max_size=25).map(lambda parts: said(" ".join(parts)))


@settings(deadline=None)
@given(words=st.none() | _WORDS, unsure=st.booleans())
def test_it_never_lowers_what_the_key_made_urgent(words: list[Word] | None, unsure: bool) -> None:
    decision = triage(True, words, unsure=unsure)
    assert decision.urgency == "urgent"
    assert decision.reasons[0].kind == "key"


@settings(deadline=None)
@given(words=_WORDS)
def test_it_takes_any_words_and_points_only_at_words_that_exist(words: list[Word]) -> None:
    for reason in triage(False, words).reasons:
        assert all(0 <= index < len(words) for index in reason.indexes)


@settings(deadline=None)
@given(before=_TALK, after=_TALK)
def test_it_stays_urgent_whatever_is_said_afterwards(before: list[Word], after: list[Word]) -> None:
    if triage(False, before).urgency == "urgent":
        assert triage(False, [*before, *after]).urgency == "urgent"


def test_it_judges_a_very_long_message_in_a_moment() -> None:
    words = said("bleeding pregnant fever chest breath heart fell the and no " * 500)
    began = time.monotonic()
    assert triage(False, words).urgency == "urgent"
    assert time.monotonic() - began < 5
