"""Roles, what each may do, and which parts of a message each may see. The one table; default deny.

docs/access.md and the access test are both made from this module (`matrix`).
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """DESIGN §6."""

    FRONT_DESK = "front_desk"
    CLINICIAN = "clinician"
    DISPATCHER = "dispatcher"
    MANAGER = "manager"
    COMPLIANCE = "compliance"
    IT_ADMIN = "it_admin"


class Act(StrEnum):
    """Everything that a person can do, as subject:verb. Also the action of the audit event."""

    LIST = "message:list"
    VIEW = "message:view"
    PLAY = "message:play"
    TAKE = "message:acknowledge"
    NOTE = "message:note"
    CLOSE = "message:close"
    UNROUTED = "message:unrouted"
    AUDIT = "audit:query"
    EXPORT = "audit:export"
    SCHEDULE = "schedule:view"
    EDIT_SCHEDULE = "schedule:edit"
    DELIVERY = "notification:view"
    STATUS = "system:status"
    VIEW_LINE = "line:view"
    EDIT_LINE = "line:edit"
    VIEW_TRUNKS = "trunk:view"
    EDIT_TRUNKS = "trunk:edit"
    DOWNLOAD = "note:download"
    CALL = "call:patient"
    NUMBERS = "numbers:view"
    RECORDS = "records:manage"


class Part(StrEnum):
    """The parts of a message that are PHI."""

    NUMBER = "callback_number"
    TRANSCRIPT = "transcript"
    AUDIO = "audio"
    NOTES = "notes"


_WORK = {
    Act.LIST,
    Act.VIEW,
    Act.PLAY,
    Act.TAKE,
    Act.NOTE,
    Act.CLOSE,
    Act.SCHEDULE,
    Act.DELIVERY,
    Act.VIEW_LINE,
    Act.DOWNLOAD,
    Act.CALL,
}

ACTS: dict[Role, frozenset[Act]] = {
    Role.FRONT_DESK: frozenset(_WORK),
    Role.CLINICIAN: frozenset(_WORK),
    Role.DISPATCHER: frozenset({Act.LIST, Act.VIEW, Act.SCHEDULE, Act.DELIVERY, Act.VIEW_LINE}),
    Role.MANAGER: frozenset(
        _WORK | {Act.UNROUTED, Act.EDIT_SCHEDULE, Act.EDIT_LINE, Act.AUDIT, Act.NUMBERS, Act.RECORDS}
    ),
    Role.COMPLIANCE: frozenset(
        {
            Act.AUDIT,
            Act.EXPORT,
            Act.SCHEDULE,
            Act.STATUS,
            Act.VIEW_LINE,
            Act.VIEW_TRUNKS,
            Act.NUMBERS,
            Act.RECORDS,
        }
    ),
    Role.IT_ADMIN: frozenset({Act.SCHEDULE, Act.STATUS, Act.VIEW_LINE, Act.VIEW_TRUNKS, Act.EDIT_TRUNKS}),
}

# What a clinician of another practice does who covers nights here: a clinician's work, less what shows who else was told
# and how the line is set. Which messages: only those that they were told of (mailbox.service).
COVERING: frozenset[Act] = ACTS[Role.CLINICIAN] - {Act.DELIVERY, Act.VIEW_LINE}

_ALL = frozenset(Part)
PARTS: dict[Role, frozenset[Part]] = {
    Role.FRONT_DESK: _ALL,
    Role.CLINICIAN: _ALL,
    Role.DISPATCHER: frozenset({Part.NUMBER}),
    Role.MANAGER: _ALL,
    Role.COMPLIANCE: frozenset(),
    Role.IT_ADMIN: frozenset(),
}


def may(role: Role | str, act: Act) -> bool:
    """Whether a role may do a thing. An unknown role may do nothing."""
    try:
        return act in ACTS[Role(role)]
    except ValueError:
        return False


def sees(role: Role | str, part: Part) -> bool:
    """Whether a role may see a part of a message. An unknown role sees nothing."""
    try:
        return part in PARTS[Role(role)]
    except ValueError:
        return False
