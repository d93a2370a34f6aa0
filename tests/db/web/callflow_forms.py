"""What the tests of the line's pages share: the forms of a page, and the draft."""

from __future__ import annotations

import wave
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

from tests.db.web.conftest import Https
from tests.factories import House

from nightbell.line import service as lines
from nightbell.people.roles import Role

Browser = Callable[[Role], Https]


class Forms(HTMLParser):
    """The fields of each form of a page, by the form's address and part."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((has.get("action", ""), {}))
        elif not self.found:
            return
        elif tag == "input" and has.get("type") in ("checkbox", "radio"):
            if "checked" in has:
                self.fields.setdefault(has["name"], []).append(has["value"])
        elif tag == "input" and has.get("name"):
            self.fields[has["name"]] = has.get("value", "")
        elif tag == "select":
            self.select = has.get("name", "")
        elif tag == "option" and ("selected" in has or self.select not in self.fields):
            self.fields[self.select] = has.get("value", "")

    @property
    def fields(self) -> dict[str, Any]:
        return self.found[-1][1]

    def of(self, part: str) -> dict[str, Any]:
        fields = next(fields for _, fields in self.found if fields.get("part") == part)
        fields.pop("csrfmiddlewaretoken")
        return fields


def panel(client: Https, node: str, part: str = "", **more: str) -> dict[str, Any]:
    """The form of a panel as the page gives it."""
    page = client.get("/line/", {"node": node, "at": "closed"} | more).content.decode()
    return Forms(page).of(part or node)


def seconds_of(wav: bytes) -> float:
    with wave.open(BytesIO(wav)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (8000, 2)
        return file.getnframes() / 8000


def draft(house: House) -> lines.DraftView:
    return lines.draft(house.actor(Role.MANAGER))
