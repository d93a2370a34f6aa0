"""A call that is tried out on the page: replayed by the server, which keeps nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.db.web.conftest import Https
from tests.factories import House

from nightbell.mailbox.models import Message
from nightbell.people.roles import Role

Browser = Callable[[Role], Https]


def step(client: Https, *events: list[Any], **setting: Any) -> Any:
    data = {"which": "live", "caller": "5035550134", "events": list(events)} | setting
    answer = client.post("/line/try/step", json.dumps(data), content_type="application/json")
    return answer.json() | {"http": answer.status_code}


def test_a_call_is_tried_to_its_end(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    first = step(client, [0, "answered", None])
    assert first["label"] == "The first words" and first["actions"][0]["pieces"][0]["text"].startswith(
        "If this is"
    )
    assert all(one["url"].startswith("/line/clip/") or not one["url"] for one in first["actions"][0]["clips"])
    # 911 cannot be cut: the key is kept until it was said.
    events: list[list[Any]] = [[0, "answered", None], [100, "key", "1"], [4000, "played", 1]]
    now = step(client, *events)
    assert now["label"] == "Words for urgent callers"
    for _ in range(40):
        plays = [one for one in now["actions"] if one["do"] == "play"]
        at = events[-1][0] + 5000
        if now["done"]:
            break
        if now["recording"]:
            events += [[at, "tick", at - 1000], [at + 3000, "hung_up", None]]
        else:
            events.append(
                [at, "played", plays[-1]["token"]] if plays else [max(at, now["wake"]), "tick", None]
            )
        now = step(client, *events)
    assert now["ended"]["kind"] == "message"
    facts = dict(now["ended"]["facts"])
    assert (
        facts["To"] == "Nurse line"
        and facts["Urgency"].startswith("Urgent")
        and "(503) 555-0134" in facts["Call back"]
    )
    assert Message.objects.count() == 0, "nothing of a call that is tried is kept"


def test_hanging_up_before_the_tone_is_a_missed_patient(house: House, browser: Browser) -> None:
    ended = step(browser(Role.MANAGER), [0, "answered", None], [900, "hung_up", None])["ended"]
    assert ended["kind"] == "missed" and "the first words" in ended["why"]


NO_CALLS: list[Any] = [
    [],
    [[0, "answered", None]] * 401,
    [[0, "answered", None], [31 * 60_000, "tick", None]],
    [[5, "answered", None], [4, "tick", None]],
    [[0, "answered", None], [1, "key", "77"]],
    [[0, "answered", None], [True, "key", "7"]],
    [[0, "explode", None]],
    [[0, "played", "x"]],
    "no list",
    None,
]


def test_what_is_no_call_is_refused_in_words(browser: Browser) -> None:
    client = browser(Role.MANAGER)
    for events in NO_CALLS:
        answer = client.post(
            "/line/try/step", json.dumps({"events": events}), content_type="application/json"
        )
        assert answer.status_code == 422 and answer.json()["title"] == "This call cannot go on", events
    answer = client.post("/line/try/step", "{", content_type="application/json")
    assert answer.status_code == 422
    started = [[0, "answered", None]]
    for at in ("soon", "2001-01-01T00:00", "9999-12-31T23:59"):
        assert step(client, *started, at=at)["http"] == 422
