"""Checkpoints that are damaged, and disks that are full, read-only, slow or gone.

A finished run whose newest checkpoint is damaged goes on from the one before and ends as it was. A
run whose disk fails ends with a sentence; when the disk is mended, the same command goes on, and
all that it writes equals what the run wrote that nobody disturbed.
"""

import contextlib
import functools
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.faults.campaign import Campaign, Case
from experiments.faults.reference import reaches, start, undisturbed
from experiments.faults.runs import SAVED, STEPS, Attempt, differences, written
from experiments.faults.sentence import wrong_ending

META = "meta/metadata"
SLOW = 0.1

# --- Damaged checkpoints --------------------------------------------------------------------------


def _largest(checkpoint: Path) -> Path:
    return max((checkpoint / "state" / "d").iterdir(), key=lambda file: file.stat().st_size)


def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(1, len(content))])


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def _zeros(path: Path, _: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _another(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(checkpoint.with_name(f"{STEPS - SAVED}"), checkpoint)


def _replaced(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.write_text("not a folder")


def _emptied(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def _unfinished(checkpoint: Path) -> None:
    checkpoint.rename(f"{checkpoint}.orbax-checkpoint-tmp-0")


def _nowhere(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.symlink_to("nowhere")


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "file of arrays cut off": lambda x, rng: _cut(_largest(x), rng),
    "one bit of the arrays changed": lambda x, rng: _flip(_largest(x), rng),
    "file of arrays all zeros": lambda x, rng: _zeros(_largest(x), rng),
    "file of arrays removed": lambda x, _: _largest(x).unlink(),
    "folder of arrays removed": lambda x, _: shutil.rmtree(x / "state"),
    "index of arrays cut off": lambda x, rng: _cut(x / "state" / "manifest.ocdbt", rng),
    "description cut off": lambda x, rng: _cut(x / META, rng),
    "one bit of the description changed": lambda x, rng: _flip(x / META, rng),
    "description empty": lambda x, _: (x / META).write_text(""),
    "description of another kind": lambda x, _: (x / META).write_text("[1, 2]"),
    "files of an earlier checkpoint": lambda x, _: _another(x),
    "empty folder": lambda x, _: _emptied(x),
    "a file in its place": lambda x, _: _replaced(x),
    "a link to nowhere in its place": lambda x, _: _nowhere(x),
    "left unfinished": lambda x, _: _unfinished(x),
}


def run_checkpoints(campaign: Campaign) -> None:
    """All damages, one after the other."""
    for number, name in enumerate(DAMAGES):
        rng = random.Random(f"{campaign.seed}, checkpoints, {name}")
        case = functools.partial(_damaged, campaign.folder, name, rng)
        campaign.run(f"checkpoints/{number}", case)


def _damaged(folder: Path, name: str, rng: random.Random, place: Path) -> Case:
    reference = undisturbed(folder, "mazes")
    workdir = shutil.copytree(reference.workdir, place / "run")
    newest = workdir / "checkpoints" / f"{STEPS}"
    DAMAGES[name](newest, rng)
    attempt = start(folder, "mazes", workdir, place / "logs")
    (status,) = attempt.wait()
    if status:
        return Case(name, "did not go on", [f"exit status {status}: {attempt.last_words()}"])
    step = attempt.out().partition("start    step ")[2].partition(",")[0]
    faults = _unlike(written(workdir), reference.written)
    if step != f"{STEPS}" and str(newest) not in attempt.err():
        faults.append(f"{newest} is not named in a warning")
    return Case(name, f"went on from step {step}", faults)


def _unlike(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """As `differences`, but for what was set aside."""
    kept = {n: x for n, x in ours.items() if not n.startswith("damaged/")}
    names = [x for x in kept["checkpoints"].split(", ") if not x.endswith(".no-checkpoint")]
    return differences(kept | {"checkpoints": ", ".join(names)}, theirs)


# --- Disks ----------------------------------------------------------------------------------------

ROOMY = "size=64m,nr_inodes=10000"


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory, with mount options such as 'size=100k'; needs root."""
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def _remount(disk: Path, options: str) -> bool:
    command = ["mount", "-o", f"remount,{options}", disk]
    return subprocess.run(command, capture_output=True).returncode == 0


def no_disk(folder: Path) -> str:
    """Why no disk can be mounted here; '' if one can."""
    if os.geteuid():
        return "mounting needs root"
    try:
        with small_disk(folder, ROOMY):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"mounting failed: {error}"


class Trouble(NamedTuple):
    """What happens to a disk.

    name: for a person.
    options: that it is mounted with.
    phase: of the run in which the rest happens; '': before it begins.
    happens, mended: change the disk and change it back.
    kind: of run.
    """

    name: str
    options: str = ROOMY
    phase: str = ""
    happens: Callable[[Path], object] = lambda _: None
    mended: Callable[[Path], object] = lambda disk: _remount(disk, ROOMY)
    kind: str = "mazes"


def troubles(rng: random.Random, size: int, files: int) -> Iterator[Trouble]:
    """All of them.

    Args:
      rng: draws sizes.
      size: of a run, bytes.
      files: of a run.
    """
    for share in (0.2, 1.8, 2.0, 2.3, 2.6, 3.0):  # a checkpoint begins if 1 MiB will be left
        room = int(size * share * rng.uniform(0.9, 1.1)) // 1024
        yield Trouble(f"of {room} KiB", f"size={room}k")
    for share in (0.1, 0.5, 0.9):
        room = 3 + int(files * share * rng.uniform(0.8, 1.2))
        yield Trouble(f"with room for {room} files", f"size=64m,nr_inodes={room}")
    for phase in ("", "compiling", "in the step", "evaluating", "saving"):
        when = f"while {phase}" if phase else "before the start"
        yield Trouble(f"filled by others {when}", ROOMY, phase, _fill, _unfill)
    for phase in ("", "compiling", "in the step", "evaluating", "saving"):
        when = f"while {phase}" if phase else "before the start"
        kind = "mazes, no TensorBoard"
        yield Trouble(f"read-only {when}", ROOMY, phase, _write_protect, _write_allow, kind)
    yield Trouble("emptied while in the step", ROOMY, "in the step", _empty)


def _fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _unfill(disk: Path) -> None:
    (disk / "filler").unlink()


def _write_protect(disk: Path) -> bool:
    deadline = time.monotonic() + 20
    while not (done := _remount(disk, "ro")) and time.monotonic() < deadline:
        pass  # busy, while a file is open for writing
    return done


def _write_allow(disk: Path) -> bool:
    return _remount(disk, "rw")


def _empty(disk: Path) -> None:
    shutil.rmtree(disk / "run", ignore_errors=True)


def run_disks(campaign: Campaign) -> None:
    """All troubles, and a slow disk."""
    folder = campaign.folder
    workdir = undisturbed(folder, "mazes").workdir
    sizes = [path.stat().st_size for path in workdir.rglob("*")]
    rng = random.Random(f"{campaign.seed}, disks")
    reason = no_disk(folder / "disk")
    for number, trouble in enumerate(troubles(rng, sum(sizes), len(sizes))):
        if reason:
            case = functools.partial(_skipped, trouble, reason)
        else:
            case = functools.partial(_troubled, folder, trouble)
        campaign.run(f"disks/{number}", case)
    campaign.run("disks/slow", functools.partial(_slow, folder))


def _skipped(trouble: Trouble, reason: str, _: Path) -> Case:
    return Case(f"a disk {trouble.name}", f"not tried, {reason}")


def _troubled(folder: Path, trouble: Trouble, place: Path) -> Case:
    reference = undisturbed(folder, trouble.kind)
    with small_disk(place / "disk", trouble.options) as disk:
        workdir = disk / "run"
        if not trouble.phase:
            trouble.happens(disk)
        attempt = start(folder, trouble.kind, workdir, place / "before")
        if trouble.phase and reaches(attempt, workdir, trouble.phase):
            trouble.happens(disk)
        try:
            (status,) = attempt.wait()
        except TimeoutError as error:
            status, faults = 2, [f"does not end: {error}"]
        else:
            faults = [] if status == 0 else wrong_ending(status, attempt.err(), [str(disk)])
        trouble.mended(disk)
        found = "the run ended well"
        if status or not workdir.exists():
            attempt, found = start(folder, trouble.kind, workdir, place / "after"), _said(attempt)
        if any(attempt.wait()):
            faults.append(f"does not go on: {attempt.last_words()}")
        else:
            faults += _unlike(written(workdir), reference.written)
    return Case(f"a disk {trouble.name}", found, faults)


def _said(attempt: Attempt) -> str:
    """A message, shortened."""
    text = " ".join(attempt.err().partition("rror: ")[2].split())
    return f"“{text[:160]}…”, then went on"


def _slow(folder: Path, place: Path) -> Case:
    reference = undisturbed(folder, "mazes")
    workdir = place / "run"
    attempt = start(folder, "mazes", workdir, place / "logs", delay=SLOW)
    what = f"a disk on which every change of a file takes {SLOW} s"
    if any(attempt.wait()):
        return Case(what, "the run failed", [attempt.last_words()])
    return Case(what, "the run ended well", _unlike(written(workdir), reference.written))
