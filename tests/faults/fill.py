"""Seals captures as the phone does, into any folder: sound for the worker without a call.

python -m tests.faults.fill FOLDER COUNT SECONDS [--urgent] [--words | --silent] [--apart] [--practice CODE] prints one path a
line. --apart: each from a caller of its own; else one person calls again and again, whose third call is urgent by that alone.
Runs in the environment of an installation; its public sealing key is all it takes from there.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT, Stack


def fill(stack: Stack, folder: Path, count: int, seconds: float, *options: str) -> list[Path]:
    """Captures in `folder`, on the file system of the spool so that a rename moves them there."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [str(folder), str(count), str(seconds), *options]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fill", *arguments],
        env=stack.environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [Path(line) for line in done.stdout.splitlines()]


def offer(stack: Stack, capture: Path) -> str:
    """Put one capture into the spool. Returns its id."""
    capture.rename(stack.home / "phone" / "spool" / capture.name)
    return capture.stem


def main() -> int:
    from nightbell.server.django_setup import setup

    setup()
    from tests.factories import CALLER, make_capture
    from tests.sound import of_file

    from nightbell.mailbox.models import Mailbox

    folder, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    mailboxes = Mailbox.objects.order_by("practice__code", "position")
    if "--practice" in sys.argv:
        mailboxes = mailboxes.filter(practice__code=sys.argv[sys.argv.index("--practice") + 1])
    mailbox = mailboxes.last()
    words = of_file(ROOT / "samples" / "urgent.wav").astype("<i2").tobytes()
    for number in range(count):
        noise = random.Random(number).randbytes(int(seconds * 16000))
        if "--silent" in sys.argv:
            noise = bytes(len(noise))
        pcm = words[: int(seconds * 16000)] if "--words" in sys.argv else noise
        caller = f"+1503{random.randrange(10**7):07}" if "--apart" in sys.argv else CALLER
        print(make_capture(mailbox, pcm=pcm, urgent="--urgent" in sys.argv, caller=caller, folder=folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
