"""What is remembered of a caller: for how long, for whom, and how much of it."""

from __future__ import annotations

from nightbell.phone import memory
from nightbell.phone.memory import LANGUAGE_FOR, SLOW_FOR, Memory, Remembered


def test_it_remembers_a_language_and_for_ten_minutes_that_there_was_no_hurry() -> None:
    kept = Memory()
    kept.keep("p", "5035550134", "es", True, 1000.0)
    assert kept.recall("p", "5035550134", 1000.0 + SLOW_FOR - 1) == Remembered("es", True)
    assert kept.recall("p", "5035550134", 1000.0 + SLOW_FOR) == Remembered("es", False)
    assert kept.recall("p", "5035550134", 1000.0 + LANGUAGE_FOR) == Remembered()


def test_it_knows_nothing_of_others() -> None:
    kept = Memory()
    kept.keep("p", "5035550134", "es", True, 0.0)
    assert kept.recall("q", "5035550134", 1.0) == Remembered()
    assert kept.recall("p", "5035550135", 1.0) == Remembered()
    assert kept.recall("p|5035550134", "", 1.0) == Remembered()


def test_it_remembers_nobody_who_withholds_the_number() -> None:
    kept = Memory()
    kept.keep("p", "", "es", True, 0.0)
    assert kept.recall("p", "", 1.0) == Remembered()
    assert not kept._kept


def test_a_fresh_phone_is_in_no_hurry_with_nobody() -> None:
    assert Memory().recall("p", "5035550134", 0.0) == Remembered()
    kept = Memory()
    kept.keep("p", "5035550134", "es", False, 5.0)  # the machine has just been started
    assert kept.recall("p", "5035550134", 6.0) == Remembered("es", False)


def test_it_keeps_the_language_when_only_the_pace_changes() -> None:
    kept = Memory()
    kept.keep("p", "1", "es", False, 100.0)
    kept.keep("p", "1", "", True, 200.0)
    assert kept.recall("p", "1", 300.0) == Remembered("es", True)
    kept.keep("p", "1", "en", False, 250.0)
    assert kept.recall("p", "1", 300.0) == Remembered("en", True)
    assert kept.recall("p", "1", 200.0 + SLOW_FOR) == Remembered("en", False)


def test_it_holds_no_number_and_forgets_the_oldest(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(memory, "MOST", 3)
    kept = Memory()
    for number in ("5035550131", "5035550132", "5035550133", "5035550131", "5035550134"):
        kept.keep("p", number, "es", False, 0.0)
    known = [number for number in range(1, 5) if kept.recall("p", f"503555013{number}", 1.0).language]
    assert known == [1, 3, 4]
    assert not [name for name in kept._kept if b"555" in name]
    assert all(len(name) == 16 for name in kept._kept)
    other = Memory()
    other.keep("p", "5035550134", "es", False, 0.0)
    assert not set(other._kept) & set(kept._kept)
