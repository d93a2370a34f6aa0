"""Addresses of other services (Apprise URLs) that a person may be told by. Pure.

Each service has one fixed host and HTTPS: what takes a host in its address could be led into the practice's own network.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

LONGEST = 600
SCHEMAS = frozenset(
    {
        "bulksms", "clicksend", "discord", "gchat", "ilert", "incidentio", "opsgenie", "pagerduty", "pagertree",
        "pbul", "plivo", "pover", "prowl", "signl4", "slack", "spike", "splunk", "squadcast", "tgram", "threema",
        "twist", "victorops", "vonage", "webex", "wxteams",
    }
)  # fmt: skip
# Of an address' parameters: those that say how loud it rings. 'verify=no', time-outs and texts of one's own are not.
PARAMETERS = frozenset({"priority", "sound", "retry", "expire", "region"})


def problem(address: str) -> str:
    """What is wrong with an address, '' for nothing. It is repeated nowhere: it holds the service's secrets."""
    found = re.match(r"([A-Za-z0-9]{1,20})://", address)
    if found is None or len(address) > LONGEST or not re.fullmatch(r"[!-~]+", address):
        return "it is no address of a service"
    if found[1].lower() not in SCHEMAS:
        return f"this kind of service is not allowed; allowed are {', '.join(sorted(SCHEMAS))}"
    try:
        given = {name.lower() for name, _ in parse_qsl(urlsplit(address).query, keep_blank_values=True)}
    except ValueError:
        return "it cannot be read"
    return "" if given <= PARAMETERS else f"it has parameters other than {', '.join(sorted(PARAMETERS))}"
