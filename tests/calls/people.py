"""Sixty callers, each of a kind, all else by chance from one seed: who they are, when they press what, when they go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.calls.street import Patient, Street

COUNT = 60
KEYS = "0123456789*#"
LAST_WORDS = 12.0  # seconds that somebody listens on after the message
UNTIL = 62.0  # the latest hang-up, seconds since the answer


@dataclass
class Person:
    """Calls once, or more often. kind: a name of KINDS; number: caller ID, '' withholds it; calls: as they were."""

    kind: str
    number: str
    uri: str
    chance: random.Random
    turn: int = 0  # how many of its kind came before
    calls: list[Patient] = field(default_factory=list)


Kind = Callable[[Patient, Person], Awaitable[None]]


async def hasty(call: Patient, who: Person) -> None:
    await call.until(who.chance.uniform(0.2, 8))


async def nobody(call: Patient, who: Person) -> None:
    """Presses nothing, says nothing, and waits."""
    await call.until(UNTIL)


async def keys_at_random(call: Patient, who: Person) -> None:
    while call.now < who.chance.uniform(10, 70):
        await call.wait(who.chance.uniform(0.1, 4))
        await call.press(who.chance.choice(KEYS))


async def everything(call: Patient, who: Person) -> None:
    """Any deed at any time."""
    ends = who.chance.uniform(15, UNTIL)
    while call.now < ends:
        deed = who.chance.randrange(6)
        if deed == 0:
            await call.speak(who.chance.uniform(0.3, 6))
        elif deed == 1:
            await call.hold(who.chance.choice(KEYS), who.chance.uniform(0.5, 4))
        elif deed == 2:
            await call.flood("".join(who.chance.choices(KEYS, k=20)))
        elif deed == 3:
            await call.press(who.chance.choice(["5035550", "12#", "*", "##", "1", "2", "0"]), 0.2)
        else:
            await call.wait(who.chance.uniform(0.2, 5))


async def key_held_down(call: Patient, who: Person) -> None:
    """One press, however long: more than eight seconds come in segments."""
    await call.wait(who.chance.uniform(0.5, 15))
    await call.hold(who.chance.choice("0123456789*#"), who.chance.uniform(4, 14))
    await call.wait(who.chance.uniform(1, 20))


async def fifty_keys(call: Patient, who: Person) -> None:
    await call.wait(who.chance.uniform(0.3, 20))
    await call.flood("".join(who.chance.choices(KEYS, k=50)))
    await call.wait(who.chance.uniform(1, 25))


async def again_and_again(call: Patient, who: Person) -> None:
    """The menu again, or a key without a meaning."""
    key = who.chance.choice("9*")
    await call.wait(who.chance.uniform(5, 20))
    for _ in range(who.chance.randrange(5, 14)):
        await call.press(key, who.chance.uniform(0.3, 2.5))
    await call.tone()
    await call.speak(who.chance.uniform(2.5, 5))


async def murmurs(call: Patient, who: Person) -> None:
    """Speaks whenever it suits, tone or none."""
    while call.now < UNTIL - 10:
        await call.speak(who.chance.uniform(0.4, 5))
        await call.wait(who.chance.uniform(0.5, 9))


async def silent_after_the_tone(call: Patient, who: Person) -> None:
    await call.wait(who.chance.uniform(0.2, 4))
    await call.press("0")
    await call.tone()
    await call.until(who.chance.uniform(20, UNTIL))


async def leaves_word(call: Patient, who: Person) -> None:
    """To the tone, two seconds and more of speech, then pound, or simply gone."""
    await call.wait(who.chance.uniform(0.3, 4))
    await call.press(who.chance.choice(["0", "1", "11"]), 0.3)
    await call.tone()
    await call.speak(who.chance.uniform(2.2, 9))
    await _ending(call, who)


async def _ending(call: Patient, who: Person) -> None:
    if who.chance.random() < 0.5:
        await call.press("#")
        await call.wait(who.chance.uniform(0.2, LAST_WORDS))


async def reviews(call: Patient, who: Person) -> None:
    """Hears it, says it again, adds, marks it urgent, in any order."""
    await call.wait(who.chance.uniform(0.3, 3))
    await call.press("0")
    await call.tone()
    await call.speak(who.chance.uniform(2.2, 5))
    await call.press("#")
    while call.now < UNTIL - 15:
        await call.wait(who.chance.uniform(0.5, 5))
        key = who.chance.choice("233412")
        await call.press(key)
        if key == "3":
            await call.tone()
            await call.speak(who.chance.choice([0.4, 2.5, 4]))
            await call.press("#")


async def other_language(call: Patient, who: Person) -> None:
    await call.wait(who.chance.uniform(0.2, 4))
    await call.press("2")
    await call.wait(who.chance.uniform(4, 9))
    await call.press(who.chance.choice("012"))
    await call.tone()
    await call.speak(who.chance.uniform(2.2, 4))
    await _ending(call, who)


async def another_number(call: Patient, who: Person) -> None:
    """Keys in where to call back: rightly, too short, with pound and star."""
    await call.press("1")
    await call.wait(who.chance.uniform(15, 22))
    await call.press("2")
    await call.wait(who.chance.uniform(0.5, 5))
    number = f"5035{who.chance.randrange(200_000, 999_999)}"
    await call.press(
        who.chance.choice([number, f"1{number}", f"503*{number}", f"12#{number}", "55501#", number[:7]]), 0.15
    )
    await call.wait(who.chance.uniform(0.5, 4))
    await call.press(who.chance.choice("112"))
    if who.chance.random() < 0.7:
        await call.tone()
        await call.speak(who.chance.uniform(2.2, 4))


async def wrong_status(call: Patient, who: Person) -> None:
    """Asks for a message of somebody else's, or of nobody's."""
    await call.wait(who.chance.uniform(0.2, 3))
    await call.press("3")
    await call.wait(who.chance.uniform(3, 7))
    number = f"5035{who.chance.randrange(200_000, 999_999)}"
    await call.press(who.chance.choice([number, number, number[:5] + "#" + number, "#", f"*{number}"]), 0.15)
    await call.wait(who.chance.uniform(2, 14))
    if who.chance.random() < 0.6:
        await call.tone()
        await call.speak(who.chance.uniform(2.2, 4))


async def first_message(call: Patient, who: Person) -> None:
    """Urgent, with the number that is seen confirmed."""
    await call.press("11", 0.4)
    await call.tone()
    await call.speak(3)
    await call.press("#")
    await call.wait(1)


async def own_status(call: Patient, who: Person) -> None:
    """The second call: how far is it? It got worse, or only that."""
    await call.wait(0.5)
    await call.press("3")
    await call.wait(4.5)
    await call.press(who.number, 0.12)
    await call.wait(who.chance.uniform(4, 12))
    if who.turn:  # the first of its kind only asks
        await call.press("1")
        await call.tone()
        await call.speak(2.5)
    else:
        await call.wait(who.chance.uniform(0.5, 6))


async def any_moment(call: Patient, who: Person) -> None:
    """On the way to a message, gone at any moment."""
    await call.press(who.chance.choice(["0", "1", "3", ""]), 0.3)
    await call.until(who.chance.uniform(0.2, 60))


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        leaves_word, hasty, keys_at_random, everything, key_held_down, fifty_keys, again_and_again, murmurs,
        silent_after_the_tone, reviews, other_language, another_number, wrong_status, own_status, any_moment, nobody,
    )
}  # fmt: skip


def cast(seed: int, uris: list[str]) -> list[Person]:
    """Who calls. Each kind several times, of every practice; every ninth withholds its number."""
    people = []
    for at in range(COUNT):
        chance = random.Random(f"{seed}:{at}")
        kind = list(KINDS)[at % len(KINDS)]
        withheld = at % 9 == 4 and kind != "own_status"
        number = "" if withheld else f"2125{550_000 + at * 10 + seed % 10:06d}"
        people.append(Person(kind, number, uris[chance.randrange(len(uris))], chance, at // len(KINDS)))
    return people


async def live(street: Street, who: Person) -> None:
    """All that this person does this evening."""
    kinds = ["first_message", "own_status"] if who.kind == "own_status" else [who.kind]
    for name in kinds:
        kind = first_message if name == "first_message" else KINDS[name]

        async def script(call: Patient, kind: Kind = kind) -> None:
            who.calls.append(call)
            await asyncio.wait_for(kind(call, who), UNTIL + 2)

        await street.call(who.uri, who.number, script, who.chance)
