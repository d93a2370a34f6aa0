"""The picture of a call flow: what a caller hears from the top, as steps that can be chosen and edited. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from nightbell.flow.clips import PRACTICE_NAME
from nightbell.flow.graph import Ask, Choice, Digits, Graph, Hear, Take, Words
from nightbell.flow.hours import Kind, Situation
from nightbell.flow.line import Line
from nightbell.flow.model import CallConfig
from nightbell.flow.plan import MenuKey, Plan, greeting_of
from nightbell.web.callflow_words import SILENCE, Book, Spoken
from nightbell.web.format import phone

A_CALLER = "5035550134"

STEM_NAMES = {
    "menu-urgent": "Urgent", "menu-routine": "Routine", "menu-appointment": "Appointments", "menu-refill": "Refills",
    "menu-results": "Test results", "menu-billing": "Billing", "menu-professional": "Hospital, pharmacy or lab",
    "menu-status": "Check on a message",
}  # fmt: skip
_STEM_ICONS = {
    "menu-urgent": "bell-ring", "menu-routine": "voicemail", "menu-appointment": "calendar", "menu-refill": "pill",
    "menu-results": "file-text", "menu-billing": "file", "menu-professional": "stethoscope", "menu-status": "clock",
}  # fmt: skip
ASK_NAMES = {
    "free": "One free message",
    "guided": "Asks name, date of birth and reason one by one",
    "refill": "Asks name, date of birth, medicine and pharmacy one by one",
    "short": "One short message",
}
URGENCY_NAMES = {
    "urgent": "Alerts the team on call at once",
    "review": "Marked for a look soon",
    "routine": "Waits for the office",
}
KIND_NAMES = {
    Kind.OPEN: "Open", Kind.LUNCH: "Lunch", Kind.CLOSED: "Closed", Kind.HOLIDAY: "Holiday", Kind.CLOSURE: "Closing",
}  # fmt: skip
LINE_NAMES = {"emergency-988": "988, the crisis line", "emergency-poison": "Poison help"}

# Steps of the picture, with the nodes of the graph that belong to each.
PANELS = {
    "answer": "Answer", "emergency": "911 words", "language": "Language", "greeting": "Greeting",
    "lines": "After the greeting", "menu": "Menu", "callback": "Call-back number", "message": "Message",
    "review": "Review", "promise": "Promise", "hours": "Opening hours", "holidays": "Holidays",
    "closures": "Closings",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One step. id: of its panel; off: the plan leaves it out; changed: against the version that callers hear."""

    id: str
    icon: str
    title: str
    spoken: Spoken = SILENCE
    note: str = ""
    changed: bool = False
    off: bool = False
    locked: bool = False
    keycap: str = ""
    branches: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """What the picture is drawn from. live: the plan that callers hear; boxes: mailbox names by id; at: a moment of
    the situation; language: in which the words are shown."""

    plan: Plan
    live: Plan
    line: Line
    book: Book
    situation: Situation
    at: datetime
    language: str
    boxes: Mapping[str, str]
    first_box: str

    @property
    def config(self) -> CallConfig:
        return self.line.config(A_CALLER, self.at, language=self.language, situation=self.situation)

    def differs(self, read: Callable[[Plan], object]) -> bool:
        return read(self.plan) != read(self.live)

    def own_differs(self, *clips: str) -> bool:
        return self.differs(lambda plan: [plan.own(c, one) for c in clips for one in ("en", "es")])


def picture(view: View) -> tuple[Step, ...]:
    """All steps, in the order in which a caller meets them."""
    config = view.config
    found = [_answer(view), _emergency(view, config), _language(view), _greeting(view, config)]
    return (*found, _lines(view), _menu(view, config), *_after_the_menu(view, config))


def _answer(view: View) -> Step:
    second = f" In trouble callers are told to ring {phone(view.plan.second)}." if view.plan.second else ""
    return Step(
        "answer", "phone", f"Answer {phone(view.line.number)}".strip(),
        note=f"After one ring, recording starts sealed.{second}",
        changed=view.differs(lambda plan: plan.second),
    )  # fmt: skip


def _emergency(view: View, config: CallConfig) -> Step:
    return Step(
        "emergency", "siren", "911 words", view.book.say(("emergency-911",), config, view.language),
        "In every language of the line, before anything else. No key cuts them short.", locked=True,
    )  # fmt: skip


def _language(view: View) -> Step:
    changed = view.differs(lambda plan: plan.languages)
    if len(view.plan.languages) < 2:
        name = {"en": "English", "es": "Spanish"}[view.plan.languages[0]]
        return Step("language", "languages", "Language", note=f"{name} only.", changed=changed)
    first, other = view.plan.languages[:2]
    config = view.line.config(A_CALLER, view.at, language=first, situation=view.situation)
    offer = view.book.say(("language-offer@other", "press-2@other"), config, first)
    name = {"en": "English", "es": "Spanish"}[other]
    note = f"2 for {name}, while the first words are said. The next call from that number begins in it."
    return Step("language", "languages", "Language", offer, note, changed)


def greeting_clips(view: View) -> tuple[str, ...]:
    """The own clips that a greeting may hold."""
    return ("practice-name", greeting_of(view.situation.kind), f"greeting-{view.situation.kind.value}")


def _greeting(view: View, config: CallConfig) -> Step:
    node = config.graph.nodes["greeting"]
    words = tuple(w for w in getattr(node, "words", ()) if w not in LINE_NAMES)
    own = PRACTICE_NAME not in words
    note = "In your own words." if own else ""
    return Step(
        "greeting", "volume", "Greeting", view.book.say(words, config, view.language), note,
        view.own_differs(*greeting_clips(view)),
    )  # fmt: skip


def _lines(view: View) -> Step:
    changed = view.differs(lambda plan: plan.lines)
    if not view.plan.lines:
        return Step(
            "lines", "heart", "988 and poison help", note="Not said on this line.", changed=changed, off=True
        )
    title = " and ".join(LINE_NAMES[one] for one in view.plan.lines)
    return Step(
        "lines", "heart", title, view.book.say(view.plan.lines, view.config, view.language), changed=changed
    )


def _menu(view: View, config: CallConfig) -> Step:
    keys = view.plan.keys
    changed = view.differs(lambda plan: [k.key for k in plan.keys])
    if not keys:
        return Step("menu", "hash", "No menu", note="The greeting leads to the tone.", changed=changed)
    node = config.graph.nodes["menu"]
    seconds = view.book.say(getattr(node, "words", ()), config, view.language).seconds
    branches = [_branch(view, config, key) for key in keys]
    return Step(
        "menu", "hash", "Menu", Spoken((), seconds), "Keys work while it speaks. Said twice, then the tone.",
        changed, branches=(*branches, _anything_else(view)),
    )  # fmt: skip


def _branch(view: View, config: CallConfig, key: MenuKey) -> Step:
    before = next((k for k in view.live.keys if k.key == key.key), None)
    return Step(
        f"key-{key.key}", _STEM_ICONS.get(key.stem, "voicemail"), key_name(key, view.book, view.language),
        view.book.say((key.stem, f"press-{key.key}"), config, view.language), key_note(view, key),
        before != key or view.own_differs(f"own-key-{key.key}", key.stem), keycap=key.key,
    )  # fmt: skip


def key_name(key: MenuKey, book: Book, language: str = "en") -> str:
    """What a choice is called: 'Refills'; for own words the words themselves."""
    own = book.text(f"{language}/{key.stem}").strip(" ,.") if key.stem.startswith("own-") else ""
    return STEM_NAMES.get(key.stem, own or f"Key {key.key}")


def key_note(view: View, key: MenuKey) -> str:
    """Where a choice leads, in sentences."""
    if key.does == "status":
        return "Tells how far a message is; a new one can be left."
    box = view.boxes.get(key.mailbox, "") if key.mailbox else view.first_box
    return f"To {box or 'a mailbox that is gone'}. {URGENCY_NAMES[key.urgency]}. {ASK_NAMES[key.asks]}."


def _anything_else(view: View) -> Step:
    return Step(
        "menu", "voicemail", "Anything else",
        note=f"0, silence, or an old phone: to {view.first_box}. One short message.", keycap="0",
    )  # fmt: skip


def _after_the_menu(view: View, config: CallConfig) -> list[Step]:
    plan = view.plan
    return [
        Step(
            "callback", "phone-call", "Call-back number",
            _of_node(view, config, "callback") if plan.callback else SILENCE,
            "Read back and confirmed, before the message." if plan.callback else "Not asked for.",
            view.differs(lambda p: p.callback), off=not plan.callback,
        ),
        Step(
            "message", "mic", "Message", _of_node(view, config, "notice"), _message_note(plan),
            view.differs(lambda p: (p.max_seconds, p.for_other)),
        ),
        Step(
            "review", "ear", "Review", _of_node(view, config, "review") if plan.review else SILENCE,
            "Hanging up sends it, too." if plan.review else "Not offered: what was said is sent.",
            view.differs(lambda p: p.review), off=not plan.review,
        ),
        _promise(view, config),
    ]  # fmt: skip


def _message_note(plan: Plan) -> str:
    minutes, rest = divmod(plan.max_seconds, 60)
    longest = f"{minutes} min {rest} s" if rest else f"{minutes} min"
    guided = [k.key for k in plan.keys if k.asks in ("guided", "refill") and k.does == "message"]
    asked = f" Key {' and '.join(guided)}: one question at a time." if guided else ""
    return f"Up to {longest}, three times as long for callers who need it.{asked}"


def _of_node(view: View, config: CallConfig, base: str) -> Spoken:
    """The words of the first node of that name that asks or says something."""
    for name, node in config.graph.nodes.items():
        if name.partition(".")[0] == base:
            return view.book.say(getattr(node, "words", ()), config, view.language)
    return SILENCE


def _promise(view: View, config: CallConfig) -> Step:
    words: Words = ("saved",)
    if view.line.promise.urgent:
        words = ("saved", "~250", "promise-from", "{number}", view.line.promise.urgent, "promise-answer")
    note = "Said after an urgent message is safe on disk, and only as far as it is true."
    return Step(
        "promise", "shield-check", "Promise", view.book.say(words, config, view.language), note,
        view.differs(lambda plan: plan.promise),
    )  # fmt: skip


# From nodes of the graph to steps.

_STEPS = (
    ("first", "emergency"), ("language", "language"), ("greeting", "greeting"), ("menu", "menu"), ("no-key", "menu"),
    ("urgent", "menu"), ("callback", "callback"), ("notice", "message"), ("record-now", "message"),
    ("record", "message"), ("take", "message"), ("ask-", "message"), ("silence", "message"), ("brief", "message"),
    ("limit", "message"), ("more", "message"), ("worse", "menu"), ("status", "menu"), ("review", "review"),
    ("hear", "review"), ("again", "review"), ("retake", "message"), ("send", "promise"), ("busy", "message"),
)  # fmt: skip
_LABELS = {
    "first": "The first words", "language": "Language", "greeting": "Greeting", "menu": "Menu",
    "menu-again": "Menu, said again", "menu-wrong": "Menu, after a wrong key", "no-key": "No key: on to the tone",
    "urgent": "Words for urgent callers", "callback": "Call-back number", "callback-enter": "Keying in a number",
    "callback-short": "Keying in a number, once more", "callback-confirm": "Is the number right?",
    "callback-unsure": "The number stays unconfirmed", "callback-skip": "On without a number",
    "callback-kept": "The number is kept", "notice": "Before the tone", "record-now": "Before the tone",
    "take": "Recording the message", "take-again": "Recording, second try", "take-worse": "Recording what got worse",
    "take-name": "Recording the name", "take-dob": "Recording the date of birth",
    "take-reason": "Recording the reason", "take-refill": "Recording medicine and pharmacy",
    "ask-name": "Asking the name", "ask-dob": "Asking the date of birth", "ask-reason": "Asking the reason",
    "ask-refill": "Asking medicine and pharmacy", "retake": "Recording anew", "silence": "Nothing was said",
    "silence-end": "Nothing was said", "brief": "A very short message", "limit": "The time is up",
    "more": "Recording more", "review": "Review", "hear": "Hearing one's own message", "again": "Recording anew",
    "send": "Saved", "send-worse": "Saved", "status": "Keying in the number", "status-short": "Keying in a number",
    "status-query": "Looking the message up", "status-none": "No message was found", "status-bye": "Goodbye",
    "worse": "It got worse", "busy": "The short form",
}  # fmt: skip


def base_of(node: str) -> str:
    """A node's name without the mark of its way: 'notice.guided' is 'notice'."""
    return node.partition(".")[0]


def label_of(node: str) -> str:
    """What a person calls a node of the graph."""
    base = base_of(node)
    if base not in _LABELS and base.startswith("status-"):
        return "How far the message is"
    return _LABELS.get(base, base.replace("-", " ").capitalize())


def step_of(node: str) -> str:
    """The step of the picture that a node belongs to; 'menu' for what nobody knows."""
    return next((step for start, step in _STEPS if node.startswith(start)), "menu")


_KEY = re.compile(r"(?:(?:en|es)/)?(?:own-)?key[- ]([1-8])")


def panel_of_problem(where: str) -> tuple[str, str]:
    """The panel in which a problem can be mended, and its language or ''."""
    language, _, clip = where.rpartition("/")
    key = _KEY.fullmatch(where)
    if key:
        return f"key-{key[1]}", language
    if where in ("hours", "holidays", "closures"):
        return where, ""
    if "greeting" in clip or clip == "practice-name":
        return "greeting", language
    if clip.startswith("menu-"):
        return "menu", language
    return step_of(where), language


_KEYS = {
    ("callback", "1"): "this number", ("callback", "2"): "another number", ("callback-confirm", "1"): "it is right",
    ("callback-confirm", "2"): "key it in again", ("review", "1"): "send", ("review", "2"): "listen",
    ("review", "3"): "record again", ("review", "4"): "mark urgent and send", ("limit", "1"): "add more",
    ("brief", "1"): "add more",
}  # fmt: skip
_OPENING = ("first", "greeting", "menu")


def keys_now(node: str, graph: Graph, plan: Plan, book: Book) -> list[tuple[str, str]]:
    """The keys that mean something at a node, with what each does."""
    found, base = graph.nodes.get(node), base_of(node)
    if isinstance(found, Ask):
        names = {k.key: key_name(k, book) for k in plan.keys} if base.startswith(_OPENING) else {}
        return [(key, _key_does(base, key, choice, names)) for key, choice in sorted(found.keys.items())]
    if isinstance(found, Digits):
        return [("0–9", "the telephone number"), ("#", "it is complete"), ("*", "begin again")]
    if isinstance(found, Take):
        return [("#", "the message is complete")]
    return [("#", "back to the choices")] if isinstance(found, Hear) else []


def _key_does(base: str, key: str, choice: Choice, names: Mapping[str, str]) -> str:
    if choice.to == "language":
        return "the other language"
    if choice.to == "menu":
        return "hear this again"
    if base.startswith("status-"):
        return "it got worse" if choice.to == "worse" else "leave a new message"
    return names.get(key) or _KEYS.get((base, key)) or label_of(choice.to)
