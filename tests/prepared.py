"""A database that is migrated already, for the many installations that the tests start: migrating takes three seconds of CPU.

    python -m tests.prepared FILE

`script/test` makes it once, in the file that NIGHTBELL_TEST_MIGRATED names. Without that name each installation migrates by
itself, as do those that ask for it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

DATABASE = Path("db") / "nightbell.sqlite3"


def lend(home: Path) -> None:
    """Lay it into a home that is yet to be made, as one would find it whose making was cut off after the migration."""
    made = os.environ.get("NIGHTBELL_TEST_MIGRATED")
    if made and not home.exists():
        (home / "db").mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        (home / "making").touch()
        shutil.copyfile(made, home / DATABASE)
        (home / DATABASE).chmod(0o600)


def make(target: Path) -> None:
    """Migrate a new database and put it there."""
    with tempfile.TemporaryDirectory(prefix="nightbell-migrated-") as folder:
        os.environ |= {"NIGHTBELL_HOME": f"{folder}/home", "NIGHTBELL_KEYS": f"{folder}/keys"}
        (Path(folder) / "home" / "db").mkdir(parents=True)
        from nightbell.server.django_setup import setup

        setup()
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0, interactive=False)
        connections.close_all()
        shutil.copyfile(Path(folder) / "home" / DATABASE, target)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
