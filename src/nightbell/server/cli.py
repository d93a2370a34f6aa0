"""The `nightbell` command. Exit codes: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable

from nightbell import __version__
from nightbell.core.clock import utc_now
from nightbell.core.config import Config, check_keys_apart, check_pairs, load
from nightbell.core.errors import NightbellError, RefusedStart
from nightbell.core.log import Log
from nightbell.server import home
from nightbell.server.django_setup import setup

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SAMPLE = "samples/urgent.wav"


def _serve(config: Config, options: argparse.Namespace) -> int:
    from nightbell.server.supervisor import Supervisor

    mode = home.DEMO if options.demo else home.REAL
    check_pairs(config)  # before any part runs: the line would come up, and the worker never
    binds = {"NIGHTBELL_BIND": (config.bind,), "NIGHTBELL_SIP_BIND": config.sip_bind}
    for name, given in binds.items():
        if options.demo and not set(given) <= set(LOOPBACK):
            raise RefusedStart(name, "a demo listens on this machine only", "set it to 127.0.0.1")
    home.make(config, mode, utc_now())
    with home.alone(config, "serve"):
        return Supervisor(config, Log("serve")).run(lambda: _prepare(config, mode))


def _prepare(config: Config, mode: str) -> str:
    """Make or check the installation; what to print when all parts run.

    Without its keys an installation still starts: calls are taken, everything else waits.
    """
    now = utc_now()
    setup()
    from nightbell.server import demo, first_run

    if config.key_provider == "file" and not (config.keys / "kek.key").exists():
        print("The key file is not there: calls are taken and sealed, nothing can be opened.", flush=True)
        return "Nightbell takes calls; reading waits for the key file."
    home.prepare_database(config, now)
    if mode == home.DEMO:
        demo.fill(config, now)
        text = demo.greeting(config, SAMPLE)
    else:
        text = first_run.greeting(config, now)
    from nightbell.server import routing

    routing.publish(config, now)
    return text


def _phone(config: Config, options: argparse.Namespace) -> int:
    home.require(config)
    os.execv(sys.executable, [sys.executable, "-m", "nightbell.phone"])  # noqa: S606


def _worker(config: Config, options: argparse.Namespace) -> int:
    home.require(config)
    check_keys_apart(config)
    setup()
    from nightbell.server import worker

    with home.alone(config, "worker"):
        return worker.main(config)


def _web(config: Config, options: argparse.Namespace) -> int:
    home.require(config)
    check_keys_apart(config)
    key = config.keys / "server.key"
    if not key.exists():
        raise RefusedStart(
            "the web server's key", f"{key} is not there", "put it back from your backup of the keys"
        )
    arguments = [
        "--interface", "wsgi", "--http", "1", "--host", config.bind, "--port", str(config.https_port),
        "--ssl-certificate", str(config.home / "tls" / "server.pem"), "--ssl-keyfile", str(key),
        "--ssl-protocol-min", "tls1.3", "--workers", "2", "--blocking-threads", "3", "--backlog", "512",
        "--respawn-failed-workers", "--workers-kill-timeout", "10", "--no-ws", "--log-level", "warning",
        "nightbell.server.wsgi:application",
    ]  # fmt: skip
    os.nice(5)  # people who read wait for the calls and alerts of others, not the other way round
    os.execv(sys.executable, [sys.executable, "-m", "granian", *arguments])  # noqa: S606


def _migrate(config: Config, options: argparse.Namespace) -> int:
    home.require(config)
    setup()
    home.prepare_database(config, utc_now())
    print("The database is up to date.")
    return 0


def _call(config: Config, options: argparse.Namespace) -> int:
    os.execv(sys.executable, [sys.executable, "-m", "nightbell.phone.caller", *options.rest])  # noqa: S606


def _status(config: Config, options: argparse.Namespace) -> int:
    from nightbell.server import health, running

    mode = home.require(config)
    report = health.read(config, utc_now())
    differing = running.differing(config, utc_now())
    if options.json:
        said = {"mode": mode, "version": __version__, "url": config.url, "settings_differ": differing}
        print(json.dumps({**said, **report}, indent=1))
    else:
        running.warn(differing)
        print(f"Nightbell {__version__}, {mode}, {config.url}")
        for name, check in report["checks"].items():
            print(f"  {'ok   ' if check['ok'] else 'LOOK '} {name:8} {check['says']}")
    return 0 if report["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    from nightbell.server import admin, import_admin, trunk_admin

    parser = argparse.ArgumentParser(
        prog="nightbell", description="A sealed phone line for medical practices."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[Config, argparse.Namespace], int], words: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=words, description=words)
        sub.set_defaults(run=run)
        return sub

    serve = add("serve", _serve, "start phone, worker and web, and keep them running")
    serve.add_argument("--demo", action="store_true", help="two invented practices, on this machine only")
    add("phone", _phone, "the phone process alone")
    add("worker", _worker, "the worker process alone")
    add("web", _web, "the web process alone")
    add("migrate", _migrate, "bring the database up to date")
    call = add("call", _call, "place a real SIP call: nightbell call sip:URI --wav FILE [--digits 1]")
    call.add_argument("rest", nargs=argparse.REMAINDER, metavar="...")
    status = add("status", _status, "how the parts are; exit code 1 when something needs a look")
    status.add_argument("--json", action="store_true")
    admin.add_to(commands)
    trunk_admin.add_to(commands)
    import_admin.add_to(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["call"]:  # its own options, whatever they look like
        return _call(load(), argparse.Namespace(rest=given[1:]))
    options = _parser().parse_args(given)
    try:
        return int(options.run(load(), options))
    except NightbellError as error:
        print(f"nightbell {options.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except Exception as error:
        if not _of_the_database(error):
            raise
        said = (str(error).splitlines() or ["no more is known"])[0][:200]
        print(
            f"nightbell {options.command}: the database cannot be used: {said}. Start it or mend NIGHTBELL_DATABASE, "
            "or restore a backup.",
            file=sys.stderr,
        )
        return 1


def _of_the_database(error: Exception) -> bool:
    """Django is loaded only when something else needed it: the parts that do without start sooner."""
    django = sys.modules.get("django.db")
    return django is not None and isinstance(error, django.DatabaseError)


if __name__ == "__main__":
    sys.exit(main())
