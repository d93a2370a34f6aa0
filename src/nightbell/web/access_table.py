"""Each endpoint with the act that it asks for, read off the code itself: docs/access.md and its test come from here.

`script/docs` writes the document anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver

from nightbell.people.roles import PARTS, Act, Part, Role, may, sees
from nightbell.web.doors import Door, declared

# The API's operations ask inside the services that they share with the pages; a test calls each as each role.
API: dict[str, Act] = {
    "GET /api/v1/messages": Act.LIST,
    "GET /api/v1/messages/{id}": Act.VIEW,
    "GET /api/v1/messages/{id}/audio": Act.PLAY,
    "POST /api/v1/messages/{id}/acknowledge": Act.TAKE,
    "POST /api/v1/messages/{id}/notes": Act.NOTE,
    "POST /api/v1/messages/{id}/close": Act.CLOSE,
    "GET /api/v1/audit": Act.AUDIT,
    "GET /api/v1/oncall": Act.SCHEDULE,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address. `path` has {id} where a message, {token} where an alert, {row} where a schedule entry or a closing
    goes; [language], [name] of a prompt and [number] of a version mean one's own practice's, or everybody's."""

    path: str
    need: Act | Door

    @property
    def of_one(self) -> bool:
        """Whether it is about one thing, which may be another practice's."""
        return "{" in self.path

    def may(self, role: Role) -> bool:
        return self.need in (Door.OPEN, Door.SELF, Door.MEMBER) or (
            isinstance(self.need, Act) and may(role, self.need)
        )


def _patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry, route)
        else:
            yield route, entry


def _plain(route: str) -> str:
    for name, short in (
        ("message_id", "id"),
        ("token", "token"),
        ("override_id", "row"),
        ("shift_id", "row"),
        ("closure_id", "row"),
        ("swap_id", "row"),
        ("rotation_id", "row"),
        ("schedule_id", "row"),
        ("policy_id", "row"),
        ("route_id", "row"),
        ("group_id", "row"),
        ("cover_id", "row"),
        ("change_id", "row"),
        ("talk_id", "row"),
    ):
        route = route.replace(f"<str:{name}>", f"{{{short}}}")
    for kind, name in (
        ("str", "language"),
        ("str", "name"),
        ("int", "number"),
        ("str", "trunk_id"),
        ("str", "secret"),
    ):
        route = route.replace(f"<{kind}:{name}>", f"[{name}]")
    return "/" + route


def pages() -> list[Endpoint]:
    """The pages with an act of a role, and the doors that are not one's own log-in."""
    found = []
    for route, entry in _patterns(get_resolver()):
        access = declared(entry.callback)
        if access is None or access.need is Door.TOKEN or route.startswith(("account/", "api/", "hooks/")):
            continue
        found.append(Endpoint(_plain(route), access.need))
    return found


def api() -> list[Endpoint]:
    return [Endpoint(path, act) for path, act in API.items()]


def _table(endpoints: list[Endpoint]) -> list[str]:
    lines = ["| endpoint | " + " | ".join(Role) + " |", "|---" * (len(Role) + 1) + "|"]
    for endpoint in endpoints:
        if endpoint.need is Door.OPEN:
            cells = ["open"] * len(Role)
        else:
            cells = ["yes" if endpoint.may(role) else "–" for role in Role]
        lines.append(f"| `{endpoint.path}` | " + " | ".join(cells) + " |")
    return lines


def as_markdown() -> str:
    """The document."""
    parts = ["| part | " + " | ".join(Role) + " |", "|---" * (len(Role) + 1) + "|"]
    for part in Part:
        parts.append(f"| {part} | " + " | ".join("yes" if sees(role, part) else "–" for role in PARTS) + " |")
    return "\n".join(
        [
            "# Who may do what",
            "",
            "Made from the code by `script/docs`; a test calls every endpoint below as every",
            "role, on its own and on another practice's message, and compares.",
            "",
            "- *yes*: with one's own practice. Another practice's message, alert or schedule entry looks like one that does",
            "  not exist (404), for everybody.",
            "- [language], [name] and [number] name prompts of everybody's and versions of one's own practice; [trunk_id] a way to",
            "  the phone network, which is the whole installation's; [secret] is the long secret address of a calendar.",
            "- *–*: refused (403), with a row in the log. *open*: no log-in, and nothing of a patient behind it.",
            "- Every page but the open ones asks for a second factor. `/` leads roles without messages to their own first page.",
            "- Clinicians of another practice who cover have the clinician's column there, less `line:view` and `notification:view`;",
            "  of messages only those that they were told of, others are 404 (docs/adr/0010; tests/db/oncall/test_covering.py).",
            '- Messages of numbers that nobody configured ("unrouted") exist for the manager of the first practice alone.',
            "",
            "## Pages",
            "",
            *_table(pages()),
            "",
            "## API",
            "",
            "A token acts as its user, within its scopes.",
            "",
            *_table(api()),
            "",
            "## Parts of a message",
            "",
            *parts,
            "",
        ]
    )
