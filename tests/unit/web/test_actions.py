"""Every action that is written into the audit log has words for people."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from nightbell.people.roles import Act
from nightbell.web.actions import ACTIONS, action_word

SOURCE = Path(__file__).resolve().parents[3] / "src" / "nightbell"
SHAPE = re.compile(r"[a-z]+:[a-z_]+\Z")
# Look like an action and are none: actors, a flag, a mark of a call, an address.
OTHERS = {
    "system:line", "system:setup", "system:worker", "user:unknown", "snapshot:version", "urgency:review", "about:blank",
    "system:auditor", "system:receipts",
}  # fmt: skip
FACTORS = "session:authenticator_"  # web.accounts puts the rest behind it


def _literals() -> dict[str, set[str]]:
    """Every string of an action's shape in the source, with the files that have it."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and SHAPE.match(node.value):
                found.setdefault(node.value, set()).add(path.name)
    return found


def test_every_action_has_words() -> None:
    found = _literals()
    written = {action for action in found if action not in OTHERS and action != FACTORS}
    assert {action: found[action] for action in written if action not in ACTIONS} == {}
    assert {act.value for act in Act} <= set(ACTIONS)
    assert {FACTORS + what for what in ("added", "removed", "reset")} <= set(ACTIONS)


def test_no_word_is_for_an_action_that_nobody_writes() -> None:
    made = {FACTORS + what for what in ("added", "removed", "reset")}
    elsewhere = {name for name, files in _literals().items() if files != {"actions.py"}}
    assert set(ACTIONS) - elsewhere - made == set()


def test_two_actions_never_say_the_same() -> None:
    assert len(set(ACTIONS.values())) == len(ACTIONS)
    assert action_word("line:bring_back") == "Brought an older call flow back"
