"""The command line, recording which examples every step gets; see `test_elastic.py`.

    python tests/parallel/elastic_worker.py FILE FLAGS

appends to FILE a line for every batch: its step, and the indices of this process's examples.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from absl import app, flags

from wonn_jax import main
from wonn_jax.tools.flags import parse_flags
from wonn_jax.train import batches

read = batches.train_batches
record = sys.argv.pop(1)


def train_batches(*args: Any, start: int, **kwargs: Any) -> Iterator[dict[str, Any]]:
    with open(record, "a") as file:
        for step, batch in enumerate(read(*args, start=start, **kwargs), start):
            file.write(json.dumps([step, batch["id"].tolist()]) + "\n")
            file.flush()
            yield batch


if __name__ == "__main__":
    batches.train_batches = train_batches
    flags.mark_flag_as_required("config")
    app.run(main.main, flags_parser=parse_flags)
