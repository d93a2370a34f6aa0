"""What a notice asks of somebody: whether it is still to be answered, and whether it may wait until their silent hours end.

A notice leaves some time after it was planned. What was withdrawn, taken by a colleague or answered meanwhile asks nothing
any more, however it came to its end. The key of a notice says what it is about.
"""

from __future__ import annotations

from datetime import datetime

from nightbell.core.notice import PRESSING, NoticeKind
from nightbell.oncall.models import Notice, Swap, SwapState
from nightbell.oncall.swaps import AT_ONCE
from nightbell.people.models import Cover

ASKED = "ask"
UNANSWERED = ("", "silent")  # who was silent may still take it, as long as nobody has it


def cover_key(cover_id: str) -> str:
    return f"cover:{cover_id}:{ASKED}"


def is_open(key: str, now: datetime) -> bool:
    """Whether a planned notice is still to be given: all that asks nothing is."""
    about, _, rest = key.partition(":")
    which, _, part = rest.partition(":")
    if about == "cover":
        return Cover.objects.filter(pk=which, ended_at=None, accepted_at=None).exists()
    what, _, number = part.partition(":")
    if about != "swap" or what != ASKED:
        return True
    swap = Swap.objects.filter(pk=which, state=SwapState.ASKED, ends_at__gt=now).first()
    place = int(number) - 1 if number.isdigit() else -1
    if swap is None or not 0 <= place < len(swap.asked):
        return False
    return swap.asked[place].get("answer", "") in UNANSWERED


def presses(notice: Notice, now: datetime) -> bool:
    """Whether it is given in silent hours too. A swap is where its shift begins soon: then people are rung at any hour."""
    kind = NoticeKind(notice.kind)
    about, _, rest = notice.key.partition(":")
    if kind not in (NoticeKind.ASKED, NoticeKind.SWAP) or about != "swap":
        return kind in PRESSING
    return Swap.objects.filter(pk=rest.partition(":")[0], starts_at__lte=now + AT_ONCE).exists()
