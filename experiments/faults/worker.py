"""The command line of training, watched and disturbed; see `kills.py` and `storage.py`.

    python -m experiments.faults.worker '{"batches": "FILE"}' FLAGS

What it is told, all but the first optional: `batches`, a file to which it appends a line for every
batch, its step and the indices of this process's examples; `folder`, of which it counts the files
that are opened for writing, renamed and removed, and the folders that are made, and `count`, a file
for their number; `kill_at`, the number at which it kills itself, before the operation; `delay`,
seconds that each of them takes.
"""

import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")


def watch(folder: str, kill_at: int, delay: float, count: str) -> None:
    """Counts changes of files in `folder` from now on; see above."""
    number = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal number
        if not _changes(event, arguments, folder):
            return
        number += 1
        if number == kill_at:
            os.killpg(0, signal.SIGKILL)
        if delay:
            time.sleep(delay)
        if count:
            with open(count, "w") as file:
                file.write(str(number))

    sys.addaudithook(hook)


def _changes(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    if event == "open":
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
    elif event not in CHANGES:
        return False
    return any(isinstance(x, str) and x.startswith(folder) for x in map(_text, arguments))


def _text(x: Any) -> Any:
    return os.fsdecode(x) if isinstance(x, bytes | os.PathLike) else x


def record(path: str) -> None:
    """Writes down the batches of training."""
    from wonn_jax.train import batches

    read = batches.train_batches

    def train_batches(*args: Any, start: int, **kwargs: Any) -> Iterator[dict[str, Any]]:
        with open(path, "a") as file:
            for step, batch in enumerate(read(*args, start=start, **kwargs), start):
                file.write(json.dumps([step, batch["id"].tolist()]) + "\n")
                file.flush()
                yield batch

    batches.train_batches = train_batches


def main() -> None:
    told = json.loads(sys.argv.pop(1))
    faulthandler.register(signal.SIGUSR1)  # for a process that hangs
    if "folder" in told:
        watch(told["folder"], told.get("kill_at", 0), told.get("delay", 0.0), told.get("count", ""))

    from absl import app, flags

    from wonn_jax import main
    from wonn_jax.tools.flags import parse_flags

    record(told["batches"])
    flags.mark_flag_as_required("config")
    app.run(main.main, flags_parser=parse_flags)


if __name__ == "__main__":
    main()
