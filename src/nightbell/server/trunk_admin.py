"""`nightbell trunk ...` and `nightbell evidence ...`: trunks at the command line. The OS user is the actor in the log."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from nightbell.core.clock import utc_now
from nightbell.core.config import Config
from nightbell.people.risk_rules import USUAL, BadRisk, end_of, last_day
from nightbell.server import home, running
from nightbell.server.django_setup import setup

if TYPE_CHECKING:
    from nightbell.line.trunk_rules import Given
    from nightbell.line.trunks import TrunkView
    from nightbell.people.installation import By

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_KINDS = ("register", "address", "certificate")
_TEXTS = ("name", "domain", "proxy", "user", "sources", "peer_name")
_CHANGEABLE = (*_TEXTS, "kind", "transport", "expires", "keep_alive", "dialled")
_SEE = "see: nightbell trunk change --help"


def _ready(config: Config) -> By:
    home.require(config)
    setup()
    from nightbell.people.installation import By

    return By(f"os:{getpass.getuser()}", utc_now())


def _entry(one: TrunkView) -> dict[str, Any]:
    """A trunk for --json: no password, no digest."""
    risk = one.risk
    return {
        "id": one.id, "name": one.name, "preset": one.preset, "kind": one.kind, "domain": one.domain,
        "proxy": one.proxy, "transport": one.transport, "user": one.user, "password": one.has_password,
        "realm": one.realm, "sources": list(one.sources), "certificate_name": one.peer_name, "expires": one.expires,
        "keep_alive": one.keep_alive, "dialled": list(one.dialled), "plain": one.plain,
        "in_use": not one.needs_risk, "risk_until": last_day(risk.until).isoformat() if risk else None,
    }  # fmt: skip


def _list(config: Config, options: argparse.Namespace) -> int:
    _ready(config)
    from nightbell.line.trunks import all_trunks

    found = all_trunks()
    if options.json:
        print(json.dumps([_entry(one) for one in found], indent=1))
        return 0
    for one in found:
        secured = (
            "not in use: accept-risk"
            if one.needs_risk
            else "unencrypted calls too"
            if one.plain
            else "encrypted"
        )
        print(f"{one.id}  {one.name}: {one.kind}, {one.brief}, {secured}")
    if not found:
        print("No carrier can reach this line yet. Next: nightbell trunk presets, then nightbell trunk add")
    return 0


def _presets(config: Config, options: argparse.Namespace) -> int:
    from nightbell.line.presets import PRESETS

    if options.json:
        kept = ("id", "name", "kinds", "domain", "proxy", "transport", "sources", "secure", "baa", "look")
        print(json.dumps([{name: getattr(one, name) for name in kept} for one in PRESETS], indent=1))
        return 0
    for one in PRESETS:
        print(f"{one.id:10} {one.name}\n{'':10} {one.secure} {one.look}")
    return 0


def _password(options: argparse.Namespace) -> str:
    """Never from the command line itself, where every process of the machine could read it."""
    if not options.password_stdin:
        return ""
    return sys.stdin.readline().rstrip("\r\n")


def _given(options: argparse.Namespace, base: Given) -> Given:
    said = {name: value for name in _TEXTS if (value := getattr(options, name, None)) is not None}
    for name in ("kind", "transport", "expires", "keep_alive"):
        if getattr(options, name) is not None:
            said[name] = getattr(options, name)
    if options.dialled is not None:
        said["dialled"] = tuple(one.strip() for one in options.dialled.split(","))
    return replace(base, **said, password=_password(options))


def _add(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.line import trunks
    from nightbell.line.presets import PRESETS, preset
    from nightbell.line.trunk_rules import Given

    known = [one.id for one in PRESETS]
    if options.preset not in known:
        said = f"there is no preset {options.preset[:40]!r}; choose from {', '.join(known)}"
        print(f"nightbell trunk add: {said}", file=sys.stderr)
        return 2
    chosen = preset(options.preset)
    base = Given(
        name=chosen.name, kind=chosen.kinds[0].value, domain=chosen.domain, proxy=chosen.proxy,
        transport=chosen.transport, sources=" ".join(chosen.sources), preset=chosen.id,
    )  # fmt: skip
    made = trunks.add(by, _given(options, base))
    print(made)
    if trunks.one_trunk(made).needs_risk:
        print(
            f"Not in use: it is unencrypted. Next: nightbell trunk accept-risk {made} --why ...",
            file=sys.stderr,
        )
    return 0


def _change(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.line import trunks
    from nightbell.line.trunk_rules import Given

    one = trunks.named(options.trunk)
    if not options.password_stdin and all(getattr(options, name) is None for name in _CHANGEABLE):
        print(f"nightbell trunk change: nothing to change was given; {_SEE}", file=sys.stderr)
        return 2
    base = Given(
        name=one.name, kind=one.kind, domain=one.domain, proxy=one.proxy, transport=one.transport, user=one.user,
        sources=" ".join(one.sources), peer_name=one.peer_name, expires=one.expires, keep_alive=one.keep_alive,
        dialled=one.dialled, preset=one.preset,
    )  # fmt: skip
    trunks.change(by, one.id, _given(options, base))
    print(f"{one.name} is changed; the phone has it within seconds.")
    return 0


def _remove(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.line import trunks

    one = trunks.named(options.trunk)
    trunks.remove(by, one.id)
    print(f"{one.name} is removed. For a day it can be brought back: nightbell trunk bring-back {one.id}")
    return 0


def _bring_back(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.line import trunks

    trunks.bring_back(by, options.trunk)
    print(f"{trunks.one_trunk(options.trunk).name} is back.")
    return 0


def _accept(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.line import trunks

    one = trunks.named(options.trunk)
    trunks.accept_risk(by, one.id, options.why, _until(options.until, by.now), one.covers)
    print(f"Accepted on record: {one.name} may be unencrypted. Evidence: nightbell evidence transport")
    return 0


def _until(text: str, now: datetime) -> datetime:
    """The end of a day; '' is a year from now. Raises BadRisk."""
    if not text:
        return end_of((now + USUAL).date())
    try:
        return end_of(datetime.strptime(text, "%Y-%m-%d").date())  # noqa: DTZ007 (only its day is used)
    except (ValueError, OverflowError):
        raise BadRisk("until", "the day cannot be read", "write it as 2027-11-30") from None


def _withdraw(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.line import trunks

    one = trunks.named(options.trunk)
    trunks.withdraw_risk(by, one.id)
    print(f"Withdrawn: unencrypted calls of {one.name} are refused.")
    return 0


def _status(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.line import trunk_states
    from nightbell.line.trunks import all_trunks
    from nightbell.server import health

    report = health.read(config, by.now)
    states = trunk_states.merged(report["phones"])
    check = report["checks"].get("carrier", {"ok": False, "says": "the worker has not looked yet"})
    down = trunk_states.failing([{"id": one.id} for one in all_trunks()], states)
    good = check["ok"] and not down
    if options.json:
        found = [_entry(one) | {"phone": states.get(one.id)} for one in all_trunks()]
        print(json.dumps({**check, "failing": down, "trunks": found}, indent=1))
    else:
        for one in all_trunks():
            state = states.get(one.id, {})
            since = str(state.get("since", ""))[:16].replace("T", " ")
            print(f"{one.name}: {state.get('state', 'unknown')}{f' since {since} UTC' if since else ''}")
        print(f"{'ok' if good else 'LOOK'}: {check['says']}")
    return 0 if good else 1


def _transport(config: Config, options: argparse.Namespace) -> int:
    by = _ready(config)
    from nightbell.compliance import transport
    from nightbell.line import trunk_states
    from nightbell.server import health

    hops = transport.in_transit(config, by.now)
    states = trunk_states.merged(health.read(config, by.now)["phones"])
    found = transport.bundle(hops, states, by.now)
    differing = running.differing(config, by.now)
    if options.json:
        print(json.dumps(found | {"settings_differ": differing}, indent=1))
    else:
        running.warn(differing)
        for hop in hops:
            print(
                f"{'ok  ' if hop.ok else 'LOOK'} {hop.name}: {hop.protocol}, {hop.versions}; {hop.peer}. {hop.says}".rstrip()
            )
            if hop.risk:
                print(
                    f"       risk accepted by {hop.risk.accepted_by} on {hop.risk.accepted_at[:10]} until the end of "
                    f"{hop.risk.last_day} (UTC), for {hop.risk.about}: {hop.risk.reason}"
                )
        calls = found["calls"]
        counted = (
            f"{calls['encrypted']} encrypted, {calls['plain']} not" if calls["since"] else "none counted yet"
        )
        print(f"Calls by carriers in the last {calls['days']} days: {counted}.")
    return 0 if found["ok"] else 1


def _fields(sub: argparse.ArgumentParser) -> None:
    for name in _TEXTS:
        sub.add_argument("--" + name.replace("_", "-").replace("peer-name", "certificate-name"), dest=name)
    sub.add_argument("--kind", choices=_KINDS)
    sub.add_argument("--transport", choices=("tls", "tcp", "udp"))
    sub.add_argument("--expires", type=int, help="seconds of a registration")
    sub.add_argument(
        "--keep-alive", type=int, help="seconds between questions whether the carrier is there; 0: none"
    )
    sub.add_argument(
        "--dialled", help="where the number is that was called: history,diversion,called,to,request"
    )
    sub.add_argument("--password-stdin", action="store_true", help="read the password from standard input")


def add_to(commands: Commands) -> None:
    """Hang `trunk` and `evidence` under `nightbell`."""
    trunk = commands.add_parser("trunk", help="carriers that reach this line")
    actions = trunk.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, run, words, needs in (
        ("list", _list, "what is set up", "json"),
        ("presets", _presets, "what is known of carriers", "json"),
        ("status", _status, "how they are now; exit code 1 when one needs a look", "json"),
        ("add", _add, "set one up", "fields"),
        ("change", _change, "change one", "trunk fields"),
        ("remove", _remove, "take one out", "trunk"),
        ("bring-back", _bring_back, "undo that, within a day (by id)", "trunk"),
        ("accept-risk", _accept, "let its calls be unencrypted, on record", "trunk risk"),
        ("withdraw-risk", _withdraw, "take that back", "trunk"),
    ):
        sub = actions.add_parser(name, help=words, description=words)
        sub.set_defaults(run=run)
        if "trunk" in needs:
            sub.add_argument("trunk", help="its id or name")
        if "json" in needs:
            sub.add_argument("--json", action="store_true")
        if "fields" in needs:
            _fields(sub)
        if name == "add":
            sub.add_argument("--preset", default="other", help="see: nightbell trunk presets")
        if "risk" in needs:
            sub.add_argument("--why", required=True, help="the reason; it stands in the evidence")
            sub.add_argument(
                "--until", default="", help="last day, as 2027-11-30; a year from now when not given"
            )
    evidence = commands.add_parser("evidence", help="proof of what protects patients' data")
    parts = evidence.add_subparsers(dest="action", required=True, metavar="PART")
    sub = parts.add_parser("transport", help="how everything travels", description="how everything travels")
    sub.set_defaults(run=_transport)
    sub.add_argument("--json", action="store_true")
