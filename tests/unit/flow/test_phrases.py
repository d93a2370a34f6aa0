"""Numbers, times and days as a person would say them, written out here and not read from the prompts."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import nightbell
from nightbell.flow import phrases

NEW_YORK = ZoneInfo("America/New_York")

EN_HOURS = ["twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
EN_MINUTES = [
    "o'clock", *(f"oh {unit}" for unit in EN_HOURS[1:10]), "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    *(
        f"{ten}-{unit}" if unit else ten
        for ten in ("twenty", "thirty", "forty", "fifty")
        for unit in ("", *EN_HOURS[1:10])
    ),
]  # fmt: skip
ES_UNITS = ["uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"]
ES_HOURS = [
    "a las doce", "a la una", "a las dos", "a las tres", "a las cuatro", "a las cinco", "a las seis",
    "a las siete", "a las ocho", "a las nueve", "a las diez", "a las once",
]  # fmt: skip
ES_MINUTES = [
    "en punto", *(f"y {unit}" for unit in ES_UNITS), "y diez", "y once", "y doce", "y trece", "y catorce",
    "y quince", "y dieciséis", "y diecisiete", "y dieciocho", "y diecinueve", "y veinte", "y veintiuno",
    "y veintidós", "y veintitrés", "y veinticuatro", "y veinticinco", "y veintiséis", "y veintisiete",
    "y veintiocho", "y veintinueve",
    *(
        f"y {ten} y {unit}" if unit else f"y {ten}"
        for ten in ("treinta", "cuarenta", "cincuenta")
        for unit in ("", *ES_UNITS)
    ),
]  # fmt: skip
EN_PARTS = ["in the morning."] * 12 + ["in the afternoon."] * 6 + ["in the evening."] * 6
ES_PARTS = ["de la madrugada."] * 6 + ["de la mañana."] * 6 + ["de la tarde."] * 7 + ["de la noche."] * 5
WEEKDAYS = {
    "en": ["on Monday", "on Tuesday", "on Wednesday", "on Thursday", "on Friday", "on Saturday", "on Sunday"],
    "es": ["el lunes", "el martes", "el miércoles", "el jueves", "el viernes", "el sábado", "el domingo"],
}
NEAR = {
    "en": {-1: "yesterday", 0: "today", 1: "tomorrow"},
    "es": {-1: "ayer", 0: "hoy", 1: "mañana"},
}
LANGUAGES = ("en", "es")


@cache
def _words() -> dict[str, str]:
    """'en/goodbye' to its text, of the packaged prompts."""
    rooms = Path(nightbell.__file__).parent
    found = next(
        path for room in ("flow", "phone") if (path := rooms / room / "clips" / "manifest.json").exists()
    )
    prompts = json.loads(found.read_text("utf-8"))["prompts"]
    return {f"{language}/{prompt['id']}": prompt[language] for prompt in prompts for language in LANGUAGES}


def _said(clips: list[str] | None, language: str) -> str | None:
    return None if clips is None else phrases.text(clips, language, _words())


def _time(language: str, hour: int, minute: int) -> str:
    if language == "en":
        return f"at {EN_HOURS[hour % 12]} {EN_MINUTES[minute]} {EN_PARTS[hour]}"
    return f"{ES_HOURS[hour % 12]} {ES_MINUTES[minute]} {ES_PARTS[hour]}"


def _day(language: str, when: date, ahead: int) -> str:
    if ahead in NEAR[language]:
        return NEAR[language][ahead]
    return WEEKDAYS[language][when.weekday()] if 2 <= ahead <= 6 else ""


def _local(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK, fold=fold)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_minute_of_a_day_is_said_as_a_person_would(language: str) -> None:
    midnight = datetime(2026, 7, 1, tzinfo=NEW_YORK)
    said = {}
    for minute in range(1440):
        at = midnight + timedelta(minutes=minute)
        said[minute] = _said(phrases.clock(at, language), language)
        assert said[minute] == _time(language, minute // 60, minute % 60)
    assert len(set(said.values())) == 1440  # no two minutes of a day sound alike


@pytest.mark.parametrize(
    ("at", "english", "spanish"),
    [
        ("00:00", "at twelve o'clock in the morning.", "a las doce en punto de la madrugada."),
        ("00:01", "at twelve oh one in the morning.", "a las doce y uno de la madrugada."),
        ("01:00", "at one o'clock in the morning.", "a la una en punto de la madrugada."),
        ("05:59", "at five fifty-nine in the morning.", "a las cinco y cincuenta y nueve de la madrugada."),
        ("06:00", "at six o'clock in the morning.", "a las seis en punto de la mañana."),
        ("09:42", "at nine forty-two in the morning.", "a las nueve y cuarenta y dos de la mañana."),
        ("11:59", "at eleven fifty-nine in the morning.", "a las once y cincuenta y nueve de la mañana."),
        ("12:00", "at twelve o'clock in the afternoon.", "a las doce en punto de la tarde."),
        ("13:21", "at one twenty-one in the afternoon.", "a la una y veintiuno de la tarde."),
        ("17:59", "at five fifty-nine in the afternoon.", "a las cinco y cincuenta y nueve de la tarde."),
        ("18:30", "at six thirty in the evening.", "a las seis y treinta de la tarde."),
        ("19:00", "at seven o'clock in the evening.", "a las siete en punto de la noche."),
        ("21:16", "at nine sixteen in the evening.", "a las nueve y dieciséis de la noche."),
        ("23:10", "at eleven ten in the evening.", "a las once y diez de la noche."),
    ],
)
def test_times_at_the_turns_of_the_day_read_right_in_both_languages(
    at: str, english: str, spanish: str
) -> None:
    moment = _local(f"2026-07-01T{at}")
    assert _said(phrases.clock(moment, "en"), "en") == english
    assert _said(phrases.clock(moment, "es"), "es") == spanish


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2028-03-12", 23)])
def test_on_days_of_a_clock_change_the_time_is_the_one_on_the_wall(
    language: str, day: str, hours: int
) -> None:
    start = _local(f"{day}T00:00").astimezone(UTC)
    heard = []
    for minute in range(0, hours * 60, 10):
        at = (start + timedelta(minutes=minute)).astimezone(NEW_YORK)
        heard.append(_said(phrases.clock(at, language), language))
        assert heard[-1] == _time(language, int(f"{at:%H}"), int(f"{at:%M}"))
    assert heard.count(_time(language, 2, 30)) == (hours == 25)  # skipped in spring
    assert heard.count(_time(language, 1, 30)) == (2 if hours == 25 else 1)  # twice in autumn
    assert heard[-1] == _time(language, 23, 50)


@pytest.mark.parametrize("year", [2026, 2028])
def test_every_day_of_a_year_is_named_as_heard_from_two_days_before_to_eight_after(year: int) -> None:
    today = date(year, 1, 1)
    days = 0
    while today.year == year:
        for ahead in range(-2, 9):
            when = date.fromordinal(today.toordinal() + ahead)
            clips = phrases.day(when, today)
            for language in LANGUAGES:
                assert _said(clips, language) == _day(language, when, ahead)
        today, days = date.fromordinal(today.toordinal() + 1), days + 1
    assert days == (366 if year == 2028 else 365)


@pytest.mark.parametrize("year", [2026, 2028])
def test_day_and_time_go_by_the_calendar_on_every_day_and_not_by_hours_passed(year: int) -> None:
    # From the last minute of a day and from its first, to both edges of the days around it.
    first = date(year, 1, 1)
    for number in range(366 if year == 2028 else 365):
        today = first + timedelta(days=number)
        now = datetime(
            today.year, today.month, today.day, *((23, 59) if number % 2 else (0, 0)), tzinfo=NEW_YORK
        )
        for ahead in range(-2, 9):
            when = today + timedelta(days=ahead)
            hour, minute = [(0, 0), (8, 5), (23, 59)][(number + ahead) % 3]
            at = datetime(when.year, when.month, when.day, hour, minute, tzinfo=NEW_YORK)
            for language in LANGUAGES:
                named = _day(language, when, ahead)
                wanted = f"{named} {_time(language, hour, minute)}" if named else None
                assert _said(phrases.day_and_time(at, now, language), language) == wanted


def test_a_day_and_time_reads_as_one_sentence_after_its_stem() -> None:
    now = _local("2026-11-20T18:00")  # a Friday
    opening = phrases.day_and_time(_local("2026-11-23T08:00"), now, "en")
    assert opening == ["weekday-1", "hour-8", "minute-00", "part-morning"]
    assert (
        _said(["greeting-reopen", *opening], "en")
        == "We open again on Monday at eight o'clock in the morning."
    )
    spanish = phrases.day_and_time(_local("2026-11-21T08:30"), now, "es")
    assert spanish is not None
    assert (
        _said(["greeting-reopen", *spanish], "es")
        == "Abrimos de nuevo mañana a las ocho y treinta de la mañana."
    )


def test_today_is_left_out_where_it_is_implied_and_no_other_day_is() -> None:
    now = _local("2026-11-20T18:00")
    heard = phrases.day_and_time(_local("2026-11-20T09:42"), now, "en", same_day_implied=True)
    assert _said(heard, "en") == "at nine forty-two in the morning."
    before = phrases.day_and_time(_local("2026-11-19T23:50"), now, "en", same_day_implied=True)
    assert _said(before, "en") == "yesterday at eleven fifty in the evening."
    assert phrases.day_and_time(_local("2026-11-18T09:42"), now, "en", same_day_implied=True) is None


def test_a_naive_time_and_a_language_without_rules_are_refused() -> None:
    at = _local("2026-11-20T09:42")
    for call in (
        lambda: phrases.clock(at.replace(tzinfo=None), "en"),
        lambda: phrases.day_and_time(at, at.replace(tzinfo=None), "en"),
        lambda: phrases.clock(at, "fr"),
    ):
        with pytest.raises(ValueError, match="naive|'fr'"):
            call()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("", ""),
        ("no number", ""),
        ("7", "7e"),
        ("911", "9 1 1e"),
        ("5550142", "5 5 5 ~ 0 1 4 ~ 2e"),
        ("2125550142", "2 1 2 ~ 5 5 5 ~ 0 1 4 2e"),
        ("+1 (212) 555-0142", "2 1 2 ~ 5 5 5 ~ 0 1 4 2e"),
        ("12125550142", "2 1 2 ~ 5 5 5 ~ 0 1 4 2e"),
        ("1125550142", "1 1 2 ~ 5 5 5 ~ 0 1 4 2e"),
        ("+34 915 550 142", "3 4 9 ~ 1 5 5 ~ 5 0 1 ~ 4 2e"),
        ("٣7", "7e"),
    ],
)
def test_a_number_is_read_in_groups_and_its_last_digit_falls(number: str, said: str) -> None:
    wanted = [
        "~200" if part == "~" else f"digit-{part[0]}" + "-end" * part.endswith("e") for part in said.split()
    ]
    assert phrases.digits(number) == wanted


def test_a_number_is_heard_digit_by_digit_in_both_languages() -> None:
    english = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    spanish = ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"]
    for language, names in (("en", english), ("es", spanish)):
        for number in ("2345678901", "0", "98"):
            said = _said(phrases.digits(number), language)
            assert said is not None
            assert said.lower().replace(".", "").replace(",", "").split() == [names[int(d)] for d in number]


def test_a_promise_is_rounded_up_and_never_down_for_every_minute_of_a_day() -> None:
    def length(clip: str) -> int:
        _, count, unit = clip.split("-")
        return int(count) * (60 if unit == "h" else 1)

    steps = [
        5,
        10,
        15,
        20,
        25,
        30,
        35,
        40,
        45,
        50,
        60,
        90,
        *(hours * 60 for hours in (2, 3, 4, 6, 8, 12, 24)),
    ]
    for minutes in range(1, 1441):
        clip = phrases.within(minutes)
        assert length(clip) == min(step for step in steps if step >= minutes)
        assert all(f"{language}/{clip}" in _words() for language in LANGUAGES)
    assert [phrases.within(minutes) for minutes in (-5, 0, 1441)] == ["", "", ""]


def test_words_leave_out_pauses_and_the_tone_and_keep_a_clip_of_the_other_language() -> None:
    words = {"en/saved": "Saved.", "es/goodbye": "Adiós.", "en/goodbye": "Goodbye."}
    assert phrases.text(["~400", "saved", "tone", "~20", "es/goodbye"], "en", words) == "Saved. Adiós."
    assert phrases.text(["~400"], "en", words) == ""
    with pytest.raises(phrases.WordsMissing, match="es/saved"):
        phrases.text(["saved"], "es", words)
