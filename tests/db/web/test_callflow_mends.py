"""The ways out of a damaged line, and of a recording that is not wanted, are on the pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

from tests.db.web.callflow_forms import Forms
from tests.db.web.conftest import Https
from tests.db.web.test_callflow_sound import ear
from tests.factories import House

from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.flow.plan import Plan
from nightbell.line import service as lines
from nightbell.line.models import Clip, TryNumber, Version
from nightbell.people.roles import Role
from nightbell.server import line_status

Browser = Callable[[Role], Https]
__all__ = ["ear"]


def damaged(house: House, client: Https) -> str:
    lines.first_version(house.practice, house.actor(Role.MANAGER).now)
    Version.objects.update(plan="{")
    answer = client.get("/line/")
    assert answer.status_code == 409
    return answer.content.decode()


def test_with_no_version_left_a_manager_begins_anew(house: House, browser: Browser) -> None:
    client = browser(Role.MANAGER)
    page = damaged(house, client)
    i = page.find("Publish the draft")
    print(page[i - 1200 : i + 50])
    assert "Begin anew" in page and "Publish the draft" not in page and "No version can be read" in page
    assert "Begin anew</button>" not in browser(Role.CLINICIAN).get("/line/").content.decode()
    assert "is begun anew" in client.get("/line/versions").content.decode()
    assert any("Begin anew" in line for line in line_status.told(line_status.read(load(), utc_now())))
    (action,) = [action for action, _ in Forms(page).found if action.startswith("/line/versions/")]
    assert browser(Role.CLINICIAN).post(action).status_code == 403
    assert client.post(action).status_code == 302
    assert client.get("/line/").status_code == 200
    assert client.post(action).status_code == 404, "it can be read now"


def test_with_no_version_left_a_ready_draft_is_published(house: House, browser: Browser) -> None:
    client, actor = browser(Role.MANAGER), house.actor(Role.MANAGER)
    lines.save(actor, 0, Plan(promise=60))
    page = damaged(house, client)
    fields = next(fields for action, fields in Forms(page).found if action == "/line/publish")
    assert client.post("/line/publish", fields).status_code == 302
    assert client.get("/line/").status_code == 200
    assert lines.draft(actor).plan.promise == 60


def test_a_draft_that_is_not_ready_says_why(house: House, browser: Browser, ear: None) -> None:
    client, actor = browser(Role.MANAGER), house.actor(Role.MANAGER)
    sent = {"clip": "own-greeting-closed", "node": "greeting", "lang": "en", "how": "upload"}
    client.post("/line/recording", sent | {"file": BytesIO(b"RIFF")})
    plan = replace(Plan(), clips={"en/own-greeting-closed": Clip.objects.get().sha256})
    lines.save(actor, 0, plan)
    page = damaged(house, client)
    assert "not recorded in Spanish" in page and "Publish the draft" not in page and "Begin anew" in page


def test_a_recording_that_is_discarded_is_gone(house: House, browser: Browser, ear: None) -> None:
    client = browser(Role.MANAGER)
    where = {"at": "closed", "node": "greeting", "clip": "practice-name", "clip_lang": "en", "lang": "en"}
    answer = client.post("/line/recording", where | {"how": "upload", "file": BytesIO(b"RIFF")})
    made = Clip.objects.get()
    client.post("/line/recording/number", where)
    TryNumber.objects.update(kept=made)
    for address in (answer["Location"].partition("#")[0], "/line/?at=closed&node=greeting&lang=en"):
        page = client.get(address).content.decode()
        fields = next(fields for _, fields in Forms(page).found if fields.get("take") == made.id)
    assert (load().home / "phone" / "clips" / made.sha256).exists()
    for _ in range(2):
        answer = client.post("/line/recording/number", fields | {"stop": "yes"})
        assert answer.status_code == 302
    assert not Clip.objects.exists() and not TryNumber.objects.exists()
    assert not (load().home / "phone" / "clips" / made.sha256).exists()
    assert "Use it" not in client.get(answer["Location"].partition("#")[0]).content.decode()
