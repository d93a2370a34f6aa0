"""What a message seems to be, from its bytes alone: enough to drop a flood before anything is parsed.

Linear in the message's length and bounded by LOOK. It errs to the careful side: what hides from it is a stranger's new request.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LOOK = 8_192  # bytes
_START = re.compile(rb"(?:\r\n)*(?:(SIP/2\.0) |([A-Z]{1,20}) )")
_TO = re.compile(rb"\r\n(?:to|t)[ \t]*:[^\r\n]*;[ \t]*tag=([^\s;>,]{1,128})", re.IGNORECASE)
_BRANCH = re.compile(rb"\r\n(?:via|v)[ \t]*:[^\r\n,]*;[ \t]*branch=([^\s;,]{1,256})", re.IGNORECASE)
_AGENT = re.compile(rb"\r\nuser-agent[ \t]*:[ \t]*([^\r\n]{0,80})", re.IGNORECASE)
# By what the best known scanners call themselves. Whoever scans in earnest calls himself something else: this only
# keeps the noise of the lazy out of the counters.
_SCANNERS = re.compile(
    rb"friendly-(?:scanner|request)|sipvicious|sundayddr|sipcli|sip-?scan|vaxsip|pplsip|iwar|sipptk|sivus|gulp|smap|"
    rb"eyebeam release 3006o|mr\.sip|sippts",
    re.IGNORECASE,
)


class Glance(NamedTuple):
    """method: '' for a response or what is no SIP; branch: of the first Via; to_tag: '' where there is none."""

    response: bool = False
    method: str = ""
    branch: str = ""
    to_tag: str = ""
    scanner: bool = False


def glance(data: bytes) -> Glance:
    """Look at one message. Never raises."""
    head = data[:LOOK]
    start = _START.match(head)
    if start is None:
        return Glance()
    branch, tag, agent = _BRANCH.search(head), _TO.search(head), _AGENT.search(head)
    return Glance(
        response=start[1] is not None,
        method=(start[2] or b"").decode("ascii"),
        branch=branch[1].decode("ascii", "replace") if branch else "",
        to_tag=tag[1].decode("ascii", "replace") if tag else "",
        scanner=agent is not None and _SCANNERS.search(agent[1]) is not None,
    )
