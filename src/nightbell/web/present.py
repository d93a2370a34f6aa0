"""From values to what a page says: one view object a row, made of finished strings. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nightbell.mailbox.values import PartView, Person, Reason, Row
from nightbell.people.roles import Role
from nightbell.web.format import clock_time, phone, span, stopwatch

ROLE_NAMES = {
    Role.FRONT_DESK: "Front desk",
    Role.CLINICIAN: "Clinician",
    Role.DISPATCHER: "Dispatcher",
    Role.MANAGER: "Manager",
    Role.COMPLIANCE: "Compliance",
    Role.IT_ADMIN: "IT",
}

# value, word on the button, what it means, icon; the order of the keys 1 to 6. The first three close the message.
OUTCOMES = (
    ("reached", "Reached", "Spoke with the patient", "phone"),
    ("emergency", "Sent to emergency", "Told to call 911 or go in", "ambulance"),
    ("no_call_needed", "No call needed", "Done without speaking to the patient", "check"),
    ("left_word", "Left word", "Comes back in 15 minutes", "voicemail"),
    ("no_answer", "No answer", "Comes back in 5 minutes", "phone-missed"),
    ("wrong_number", "Wrong number", "Comes back at once, with the other numbers", "x"),
)
CLOSING = 3
OUTCOME_WORDS = {value: word for value, word, _, _ in OUTCOMES}

MOST_TAGS = 2  # more would push the row open

_ENDS = {
    "interrupted": "The recording was cut off.",
    "limit": "The caller reached the longest recording.",
    "silence": "",
}

# Nodes of the call flow by how they begin; the longest that fits counts.
_REACHED = {
    "first": "during the first words",
    "language": "during the first words",
    "busy": "during the first words",
    "greeting": "during the greeting",
    "menu": "at the menu",
    "choosing": "at the menu",
    "no-key": "at the menu",
    "callback": "while giving the number",
    "status": "while asking how far the message is",
    "ask-": "at the questions",
    "take": "after the tone",
    "retake": "after the tone",
    "more": "after the tone",
    "brief": "after the tone",
    "limit": "after the tone",
    "silence": "after the tone, without a word",
    "tone": "after the tone",
    "recording": "after the tone",
    "hear": "after the message",
    "again": "after the message",
    "review": "after the message",
    "send": "after the message",
}
BEFORE_THE_TONE = "before the tone"

PART_WORDS = {
    "message": "Message",
    "name": "Name",
    "dob": "Date of birth",
    "number": "Number",
    "reason": "Reason",
    "refill": "Refill",
    "worse": "What got worse",
    "more": "More",
}
_STATUS_WORDS = {
    "none": "left none that we could tell of",
    "waiting": "we have it, and people are being told",
    "waiting_open": "we have it, until the practice opens",
    "left": "we have it",
    "heard": "it was heard",
    "owned": "somebody has it",
    "tried": "we tried to call back",
    "done": "it is done",
}
_TAG_WORDS = {
    "third": "third call in 20 min",
    "relay": "needed more time",
    "short": "short form",
    "test": "test call",
    "drill": "drill: nobody called",
    "line-test": "evening test",
    "studio": "recording for callers",
    "imported": "from the old voicemail",
    "number-failed": "number may be false",
}


@dataclass(frozen=True, slots=True)
class Tag:
    """A small label. tone: '', 'review', 'urgent'."""

    text: str
    tone: str = ""


NUMBER_FALSE = Tag(_TAG_WORDS["number-failed"])


@dataclass(frozen=True, slots=True)
class RowView:
    """One line of the inbox, ready to print. `said`: the patient's own words; `says`: ours, when there are none."""

    id: str
    urgency: str
    state: str
    title: str
    title_doubtful: bool
    under: str
    said: str
    says: str
    tray: str
    tags: tuple[Tag, ...]
    calls: tuple[Tag, ...]  # those of them that tell of the call and not of the words
    custody: str
    custody_word: str
    owner: Person | None
    owner_text: str
    wait: str
    since: str
    received_at: datetime
    unheard: bool
    mine: bool
    has_audio: bool
    length: str
    spanish: bool


def reached_words(reached: str) -> str:
    """How far a caller came, from the last node of the call flow: 'at the menu'."""
    fitting = [name for name in _REACHED if reached.startswith(name)]
    return _REACHED[max(fitting, key=len)] if fitting else BEFORE_THE_TONE


@dataclass(frozen=True, slots=True)
class PartChip:
    """A part of the recording to jump to. start: seconds."""

    text: str
    start: float


def part_chips(parts: tuple[PartView, ...]) -> tuple[PartChip, ...]:
    """A button for each answer; none where the message is one piece."""
    if len(parts) < 2 and all(part.name == "message" for part in parts):
        return ()
    return tuple(PartChip(_part_text(part), part.start) for part in parts)


def _part_text(part: PartView) -> str:
    text = PART_WORDS.get(part.name, part.name)
    if not part.earlier:
        return text
    return "Earlier take" if part.name == "message" else f"Earlier take: {text.lower()}"


def status_told(tags: tuple[str, ...]) -> str:
    """What the status line said to this caller, '' when nobody asked."""
    told = next((tag.removeprefix("status:") for tag in tags if tag.startswith("status:")), "")
    return _STATUS_WORDS.get(told, told)


def row_view(row: Row, reader: str, zone: str, now: datetime) -> RowView:
    """reader: user id; zone: the practice's."""
    custody, word = _custody(row)
    return RowView(
        id=row.id,
        urgency=row.urgency,
        state=row.state,
        title=number_text(row.callback_number),
        title_doubtful=bool(row.callback_number) and row.callback_uncertain,
        under=_under(row),
        said=row.first_words or "",
        says="" if row.first_words else no_words(row),
        tray=row.mailbox or "Unrouted",
        tags=_tags(row, zone, now),
        calls=tuple(call_tags(row, zone, now)),
        custody=custody,
        custody_word=word,
        owner=row.owner,
        owner_text=_owner(row, reader, zone, now),
        wait=span((row.closed_at or now) - row.received_at),
        since=clock_time(row.received_at, zone, now),
        received_at=row.received_at,
        unheard=row.unheard,
        mine=row.owner is not None and row.owner.id == reader,
        has_audio=row.has_audio,
        length=stopwatch(row.duration_s),
        spanish=row.language == "es",
    )


def number_text(number: str | None) -> str:
    """The callback number, or why there is none."""
    if number is None:
        return "Number not shown"
    return phone(number) if number else "Number withheld"


def _under(row: Row) -> str:
    if not row.has_audio:
        return "No recording"
    return f"{stopwatch(row.duration_s)} recorded"


def no_words(row: Row) -> str:
    """What stands where the patient's words would be. Never invented text."""
    if row.kind == "status":
        return f"Asked how far the message is. Told: {status_told(row.tags) or 'nothing'}."
    if "undecoded" in row.tags:
        return "The sound cannot be decoded yet. It is kept, and tried again. Call the patient back."
    if row.kind == "missed" or not row.has_audio:
        hung_up = f"Hung up {reached_words(row.reached)}"
        if row.duration_s >= 1:
            return f"{hung_up}: no voice made out in {round(row.duration_s)} s. Listen."
        return f"{hung_up}."
    if row.words_status == "pending":
        return "Words follow in a moment. The recording is ready."
    if row.words_status == "ready" and row.first_words is None:
        return "Words are not shown to your role."
    if row.words_status == "failed":
        return "The words could not be written down. Listen."
    return "No words could be made out. Listen."


def flags(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Red flags with the patient's words; one that lies within another is left out."""
    found = [r for r in reasons if r.kind == "red_flag" and r.quote]
    return tuple(
        r for r in found if not any(o is not r and o.start <= r.start and r.end <= o.end for o in found)
    )


def quote(reason: Reason) -> str:
    """'“chest pain” at 0:07'."""
    return f"“{reason.quote.rstrip('.,;:!? ')}” at {stopwatch(reason.start)}"


def _tags(row: Row, zone: str, now: datetime) -> tuple[Tag, ...]:
    tone = "urgent" if row.urgency == "urgent" else "review"
    tags = [Tag(quote(reason), tone) for reason in flags(row.reasons)[:MOST_TAGS]]
    for reason in row.reasons:
        if reason.kind == "key" and row.state != "closed":
            tags.insert(0, Tag("pressed 1", "urgent"))
        elif reason.kind not in _SAID_ELSEWHERE and row.urgency == "review":
            tags.append(Tag(reason.label, "review"))
    tags = [*call_tags(row, zone, now), *tags]
    if row.language == "es":
        tags.append(Tag("Spanish"))
    if row.kind == "missed":
        tags.append(Tag("possible missed patient"))
    if row.state == "closed" and row.outcome:
        tags.append(Tag(OUTCOME_WORDS.get(row.outcome, row.outcome)))
    return tuple(tags)


_SAID_ELSEWHERE = frozenset(["key", "red_flag", "missed", "third", "worse"])


def call_tags(row: Row, zone: str, now: datetime) -> list[Tag]:
    """What the call flow and other calls say of this one; the gravest first."""
    tags = []
    if row.worse_at or "worse" in row.tags:
        at = clock_time(row.worse_at or row.received_at, zone, now)
        tags.append(Tag(f"got worse {at}", "urgent" if row.state != "closed" else ""))
    urgent = {"third"} if row.state != "closed" else set()
    tags += [Tag(_TAG_WORDS[tag], "urgent" if tag in urgent else "") for tag in row.tags if tag in _TAG_WORDS]
    if row.kind != "status" and status_told(row.tags):
        tags.append(Tag("asked how far it is"))
    if row.promised_by:
        past = row.promised_by < now and row.state != "closed"
        told = f"told: call back by {clock_time(row.promised_by, zone, now)}"
        tags.append(Tag(told, "urgent" if past else ""))
    return tags


def _custody(row: Row) -> tuple[str, str]:
    if row.state == "closed":
        return "done", "Asked only" if row.kind == "status" else OUTCOME_WORDS.get(row.outcome, "Done")
    if row.state == "acknowledged":
        return ("waiting", OUTCOME_WORDS.get(row.outcome, "")) if row.outcome else ("progress", "In progress")
    return ("new", "New") if row.unheard else ("heard", "Heard by you")


def _owner(row: Row, reader: str, zone: str, now: datetime) -> str:
    if row.owner is None:
        return ""
    who = "You" if row.owner.id == reader else short_name(row.owner.name)
    if row.closed_at:
        return f"{who}, {clock_time(row.closed_at, zone, now)}"
    return f"{who} since {clock_time(row.owned_at, zone, now)}" if row.owned_at else who


def why(reasons: tuple[Reason, ...]) -> str:
    """'pressed 1 for urgent · “chest pain” at 0:07'."""
    quoted = [quote(reason) for reason in flags(reasons)]
    told = [reason.label for reason in reasons if reason.kind != "red_flag" and reason.label]
    return " · ".join([*told, *quoted])


def short_name(name: str) -> str:
    """'Dr. Anika Patel' as 'Dr Patel'; a name without a title stays whole."""
    parts = name.split()
    if len(parts) > 2 and parts[0].rstrip(".").lower() in ("dr", "doctor"):
        return f"Dr {parts[-1]}"
    return name


def summary(open_count: int, unheard: int, view: str) -> str:
    """'14 open, 9 unheard by you'."""
    if view == "done":
        return f"{open_count} closed"
    return f"{open_count} open, {unheard} unheard by you" if open_count else "none open"


_WAYS = {"sms": "text", "voice": "phone call", "other": "other service", "outbox": ""}


def told(channel: str, answer: str, receipt: str = "") -> str:
    """'text, taken by the provider, delivered'; what a demo kept in its outbox says so by its answer."""
    way = _WAYS.get(channel, channel)
    if channel == "outbox":
        return "demo outbox"
    return ", ".join(part for part in (way, answer, receipt) if part)


def rung_words(state: str, channel: str, answer: str, receipt: str = "") -> str:
    """How somebody was told, or that it is still to come: by what way is not known before it is done."""
    if state == "next":
        return "is told next"
    if state == "now":
        return f"is being told by {_WAYS.get(channel, channel)}" if channel else "is being told"
    said = told(channel, answer, receipt)
    if state == "failed":
        return said if said.startswith(("told nobody", "not told")) else f"not told: {said}"
    return said


def end_note(row: Row) -> str:
    """What a listener must know about how the recording ended."""
    return _ENDS.get(row.end_reason, "")
