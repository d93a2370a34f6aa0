"""What the tests of the pages of on call share."""

from __future__ import annotations

import re
from typing import Any

from nightbell.audit.models import Event


def body(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


def actions() -> list[str]:
    return list(Event.objects.order_by("at", "seq").values_list("action", flat=True))
