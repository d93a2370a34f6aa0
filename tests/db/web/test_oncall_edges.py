"""Forms of on call at the edge: days with something behind them, hours that a clock skips, addresses that were made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.db.web.conftest import Https
from tests.factories import House

from nightbell.core.clock import utc_now
from nightbell.oncall.models import Override, Rotation
from nightbell.people.models import Contact
from nightbell.people.roles import Role


@pytest.fixture
def manager(browser: Callable[[Role], Https]) -> Https:
    return browser(Role.MANAGER)


def override(house: House, day: str, start: str = "18:00", end: str = "20:00") -> dict[str, str]:
    times = {"from_day": day, "from_time": start, "to_day": day, "to_time": end}
    return {"user": house.people[Role.FRONT_DESK].id} | times


def spring(year: int) -> datetime:
    """The second Sunday of March."""
    first = datetime(year, 3, 1, tzinfo=UTC)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7)


def test_a_time_that_the_clock_skips_is_the_moment_of_the_change(house: House, manager: Https) -> None:
    year = utc_now().year + 1
    assert (
        manager.post(
            "/oncall/override", override(house, f"{spring(year):%Y-%m-%d}", "2:30", "8:00")
        ).status_code
        == 302
    )
    made = Override.objects.get()
    assert made.starts_at == spring(year).replace(hour=7), "3:00 in New York, which follows 1:59"
    assert made.ends_at == spring(year).replace(hour=12)


@pytest.mark.parametrize("behind", ["1", " 9", "T00:00", "x"])
def test_a_day_with_something_behind_it_is_no_day(house: House, manager: Https, behind: str) -> None:
    day = f"{utc_now() + timedelta(days=3):%Y-%m-%d}"
    assert manager.post("/oncall/override", override(house, day + behind)).status_code == 422
    assert not Override.objects.exists()
    assert manager.post("/oncall/override", override(house, day)).status_code == 302


def test_a_swap_that_ends_before_the_calendar_begins_is_none(manager: Https) -> None:
    soon = f"{utc_now() + timedelta(hours=1):%Y%m%dT%H%M%SZ}"
    assert manager.get("/oncall/swap", {"from": soon, "to": "00010101T000000Z"}).status_code == 200


def test_a_rotations_name_turns_no_line_round(house: House, manager: Https) -> None:
    form = {
        "member": house.people[Role.CLINICIAN].id, "unit": "week", "every": "1", "starts_on": f"{utc_now():%Y-%m-%d}",
        "handover": "8:00", "rank": "0", "position": "0", "name": "Nights\u202e",
    }  # fmt: skip
    assert manager.post("/oncall/rotation/new", form).status_code == 422
    assert not Rotation.objects.exists()


@pytest.mark.parametrize("endpoint", ["https://a.example/\ud800", "https://ä.example/x"])
def test_a_push_address_is_ascii(manager: Https, endpoint: str) -> None:
    told = json.dumps({"endpoint": endpoint})
    answer = manager.post("/account/ways/push", told, content_type="application/json")
    assert answer.status_code == 422
    assert not Contact.objects.filter(kind="push").exists()
