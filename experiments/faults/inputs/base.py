"""An input of a command, and what the command makes of it."""

import os
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from experiments.faults.sentence import wrong_ending

PATIENCE = 90.0
"""Seconds after which a command hangs."""
HERE = "{here}"
"""In arguments and file contents: the folder of the input, in which the command runs."""

Content = bytes | None | tuple[str, ...]
"""Of a file; None: it is removed; ('folder',); ('link', target)."""


@dataclass(frozen=True)
class Input:
    """Something that a command should refuse.

    fault: what is wrong with it, in general: of several faults, each is searched for on its own.
    module: of the command, such as 'wonn_jax.solve'.
    arguments: of the command line.
    names: of which the message must contain one; none: any message will do.
    copies: folders and files of the bases, copied first, by the name that they get.
    files: written, removed or made then, by path.
    stdin: what is piped in.
    refused: False if it may also be a good one, which then has to end with status 0 or 1.
    begins: whether training begins before it meets the fault, so that a run is left behind.
    """

    fault: str
    module: str
    arguments: tuple[str, ...]
    names: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Content] = field(default_factory=dict)
    stdin: bytes = b""
    refused: bool = True
    begins: bool = False


class Ending(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def prepare(input: Input, bases: Path, here: Path) -> None:
    """Makes the files of an input."""
    here.mkdir(parents=True)
    for name, base in input.copies.items():
        source = bases / base
        if source.is_dir():
            shutil.copytree(source, here / name, symlinks=True)
        else:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, here / name)
    for name, content in input.files.items():
        _place(here / name, content, here)


def _place(path: Path, content: Content, here: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content.replace(HERE.encode(), os.fsencode(here)))
    elif content[0] == "folder":
        path.mkdir()
    else:
        path.symlink_to(content[1])


def command(input: Input, here: Path) -> list[str]:
    """Module and arguments."""
    return [input.module, *(x.replace(HERE, str(here)) for x in input.arguments)]


def call(input: Input, here: Path) -> Ending:
    """Runs the command in a fork of this process, which has imported the libraries.

    JAX must not have computed anything here: its threads would be missing there.
    """
    logs = here.with_name(f"{here.name}-printed")
    logs.mkdir()
    (logs / "in").write_bytes(input.stdin)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            status = _become(command(input, here), here, logs)
        finally:
            os._exit(status)
    status = _wait(child)
    out, err = ((logs / name).read_text(errors="replace") for name in ("out", "err"))
    shutil.rmtree(logs)
    return Ending(status, out, err)


def _become(words: list[str], here: Path, logs: Path) -> int:
    """Runs a command line in this process; its exit status."""
    for number, name in ((0, "in"), (1, "out"), (2, "err")):
        flags = os.O_RDONLY if name == "in" else os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(logs / name, flags, 0o644), number)
    os.chdir(here)
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as exit:
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def _wait(child: int) -> int:
    """The exit status; −SIGALRM if it had to be ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGALRM


def check(input: Input, bases: Path, here: Path) -> tuple[list[str], Ending]:
    """What is wrong with what the command makes of an input; none if all is as required."""
    prepare(input, bases, here)
    before = dict(snapshot(here))
    ending = call(input, here)
    after = dict(snapshot(here))
    if not input.refused and ending.status in (0, 1) and "Traceback" not in ending.err:
        return [], ending
    faults = wrong_ending(ending.status, ending.err, input.names)
    changed = [name for name, content in before.items() if after.get(name) != content]
    if changed:
        faults.append(f"{changed[0]} was changed")
    if (new := sorted(after.keys() - before.keys())) and not input.begins:
        faults.append(f"{new[0]} was left behind")
    return faults, ending


def snapshot(folder: Path) -> Iterator[tuple[str, object]]:
    """Every file and folder with its content, by path."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield name, os.readlink(path)
        else:
            yield name, path.read_bytes() if path.is_file() else "folder"
