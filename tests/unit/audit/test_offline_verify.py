import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nightbell.audit import offline_verify
from nightbell.audit.checkpoint import Checkpoint, Signer
from nightbell.audit.tree import Frontier, leaf_hash

ORIGIN = "nightbell.example/01/practice"
SIGNER = Signer(ORIGIN, bytes(range(32)))
HEADER = {"log": ORIGIN, "vkey": SIGNER.vkey}


def dump(record):
    return json.dumps(record, separators=(",", ":"))


def export(count=9, points=(4, 9), hashes=True, leaves=None):
    """Lines of an export, and the notes of its checkpoints."""
    lines, notes, frontier = [dump(HEADER)], [], Frontier()
    for seq in range(count):
        leaf = leaves[seq] if leaves else f'{{"action":"play","n":{seq}}}'.encode()
        record = {"seq": seq, "leaf": base64.b64encode(leaf).decode()}
        if hashes:
            record["hash"] = leaf_hash(leaf).hex()
        lines.append(dump(record))
        frontier = frontier.append(leaf_hash(leaf))
        if seq + 1 in points:
            notes.append(SIGNER.sign(Checkpoint(ORIGIN, seq + 1, frontier.root())))
    return lines + [dump({"checkpoint": note}) for note in notes], notes


def test_a_whole_log_is_called_whole():
    for count, points in ((9, (4, 9)), (1, (1,)), (64, (64,))):
        report = offline_verify.check(export(count, points)[0])
        assert (report.whole, report.entries, report.checkpoints) == (True, count, len(points)), (
            report.problems
        )


def test_any_flipped_bit_of_the_file_is_found_and_an_entrys_is_named():
    lines, _ = export(4, (2, 4))
    data = "\n".join(lines).encode() + b"\n"
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    for at in range(len(data)):
        row = max(n for n, start in enumerate(starts) if start <= at)
        for bit in range(8):
            wrong = bytearray(data)
            wrong[at] ^= 1 << bit
            report = offline_verify.check(bytes(wrong).decode("latin-1").split("\n")[:-1])
            assert not report.whole, (at, bit)
            if 1 <= row <= 4 and data[at] != 10:
                assert report.first_wrong == row - 1, (at, bit, report.problems)


def test_without_hashes_the_checkpoints_still_name_the_range():
    leaves = [b"leaf %d" % n for n in range(9)]
    _, notes = export(leaves=leaves)
    leaves[6] = b"changed"
    lines, _ = export(leaves=leaves, points=(), hashes=False)
    report = offline_verify.check(lines, anchors=notes)
    assert "from 4 to 8" in report.problems[0]
    assert report.first_wrong == 4


def test_a_checkpoint_that_does_not_fit_hides_none_that_comes_after():
    leaves = [b"leaf %d" % n for n in range(9)]
    _, notes = export(leaves=leaves, points=(4, 6, 9))
    foreign = SIGNER.sign(Checkpoint(ORIGIN, 2, bytes(32)))
    leaves[7] = b"changed"
    lines, _ = export(leaves=leaves, points=(), hashes=False)
    report = offline_verify.check(lines, anchors=[foreign, *notes])
    assert report.first_wrong == 0
    assert ["from 0 to 1" in report.problems[0], "from 6 to 8" in report.problems[1]] == [True, True]
    assert len(report.problems) == 2


def test_a_rewritten_hash_does_not_hide_a_change():
    leaves = [b"leaf %d" % n for n in range(9)]
    good, _ = export(leaves=leaves)
    leaves[2] = b"changed"
    report = offline_verify.check(export(leaves=leaves, points=())[0] + good[-2:])
    assert not report.whole
    assert report.first_wrong is not None
    assert report.first_wrong <= 2


@pytest.mark.parametrize("damage", ["removed", "swapped", "doubled", "cut", "tail without checkpoint"])
def test_entries_cannot_be_removed_swapped_doubled_or_cut(damage):
    lines, _ = export()
    if damage == "removed":
        del lines[3]
    elif damage == "swapped":
        lines[3], lines[4] = lines[4], lines[3]
    elif damage == "doubled":
        lines.insert(3, lines[3])
    elif damage == "cut":
        del lines[9]
    else:
        del lines[-1]
    report = offline_verify.check(lines)
    assert not report.whole
    assert report.first_wrong == {"cut": 8, "tail without checkpoint": 4}.get(
        damage, 2 if damage != "doubled" else 3
    )


def test_a_forger_with_his_own_key_is_found_by_the_key_and_anchor_that_one_received():
    forger = Signer(ORIGIN, bytes(32))
    leaf = b"clean"
    root = Frontier().append(leaf_hash(leaf)).root()
    lines = [
        dump({"log": ORIGIN, "vkey": forger.vkey}),
        dump({"seq": 0, "leaf": base64.b64encode(leaf).decode()}),
        dump({"checkpoint": forger.sign(Checkpoint(ORIGIN, 1, root))}),
    ]
    assert offline_verify.check(lines).whole
    assert not offline_verify.check(lines, SIGNER.vkey).whole
    assert not offline_verify.check(lines, anchors=export()[1]).whole


def run(*arguments):
    script = Path(offline_verify.__file__)
    done = subprocess.run(
        [sys.executable, "-I", str(script), *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_it_runs_alone_and_tells_by_its_exit_code(tmp_path):
    alone = tmp_path / "export.jsonl"
    lines, notes = export()
    alone.write_text("\n".join(lines) + "\n")
    (tmp_path / "anchor").write_text(notes[0])
    code, text = run(str(alone), "--vkey", SIGNER.vkey, "--anchor", str(tmp_path / "anchor"))
    assert (code, "WHOLE" in text, "3 checkpoints" in text) == (0, True, True), text
    lines[5] = lines[5].replace('"seq":4', '"seq":7')
    alone.write_text("\n".join(lines) + "\n")
    code, text = run(str(alone))
    assert (code, "first wrong entry: 4" in text) == (1, True), text
    assert run(str(tmp_path / "none"))[0] == 2
    assert run()[0] == 2


def test_garbage_is_not_whole():
    for lines in (
        [],
        ["{}"],
        ["[]"],
        ["not json"],
        [dump(HEADER)],
        [dump(HEADER), "5"],
        [dump({"log": "", "vkey": ""})],
    ):
        report = offline_verify.check(lines)
        assert not report.whole or lines == [dump(HEADER)]
