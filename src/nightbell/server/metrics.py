"""Numbers for a monitoring system, on a port of their own (DESIGN §5). Counts and ages alone: no PHI in a label."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from nightbell.core.config import Config
from nightbell.core.log import Log

_REGISTRY = CollectorRegistry()


def _gauge(name: str, words: str, *labels: str) -> Gauge:
    return Gauge(f"nightbell_{name}", words, labels, registry=_REGISTRY)


_OK = _gauge("check_ok", "1 when a part is well", "check")
_CALLS = _gauge("calls", "calls in progress, all phones")
_PHONES = _gauge("phones", "connected phone processes")
_WAITING = _gauge("spool_waiting", "captures that wait for intake")
_STILL = _gauge("alerts_standing_still", "alerts or notifications that do not go on")


def start(config: Config, log: Log) -> None:
    """Serve /metrics. A port that is taken is told and costs nothing else: calls do not depend on it."""
    try:
        start_http_server(config.metrics_port, config.bind, registry=_REGISTRY)
    except OSError as error:
        log.failure("metrics.off", error, port=config.metrics_port)


def update(judged: dict[str, Any], report: dict[str, Any], waiting: int) -> None:
    """Take over what health says. judged: as health.read gives it; report: as the worker wrote it, its
    phones as server.control has checked them."""
    for name, check in judged["checks"].items():
        _OK.labels(name).set(1 if check["ok"] else 0)
    phones = report.get("phones", [])
    _PHONES.set(len(phones))
    _CALLS.set(sum(phone.get("active_calls", 0) for phone in phones))
    _WAITING.set(waiting)
    still = report.get("standing_still", 0)
    _STILL.set(still if isinstance(still, int) else -1)
