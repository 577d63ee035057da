"""Shared by the data sets of boards: examples in memory, generation in chunks, TFDS data sets."""

import abc
import collections
import concurrent.futures.process
import contextlib
import functools
import hashlib
import io
import multiprocessing
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import IO

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from wonn_jax.data.documents import check_fetched

Boards = tuple[np.ndarray, np.ndarray]  # inputs and labels, uint8 [N, H, W]

SPLITS = ("train", "test")

# What NumPy raises for damaged files.
_DAMAGE = (
    *(ValueError, EOFError, TypeError, SyntaxError, MemoryError, LookupError, OverflowError),
    *(OSError, RuntimeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


class GridSource:
    """One split of a data set of boards, with random access.

    Held in memory as bytes (2000 mazes: 5 MB): it can be pickled, shared between threads and
    read in any order.

    Args:
        name: name of the data set.
        split: "train" or "test".
        inputs: tokens, integer `[N, H, W]`, below 256.
        targets: classes, integer `[N, H, W]`, below 256; any value where not valid.
        valid: bool `[N, H, W]`, the cells that count in the loss and the metrics.
        origin: where they come from, for people; "" if the configuration says all of it.
    """

    def __init__(self, name: str, split: str, inputs, targets, valid, origin: str = ""):
        self.name = name
        self.split = split
        self.origin = origin
        self._inputs = np.asarray(inputs, np.uint8)
        self._targets = np.asarray(targets, np.uint8)
        self._valid = np.asarray(valid, bool)
        if not self._inputs.shape == self._targets.shape == self._valid.shape:
            raise ValueError(
                f"{name}/{split}: inputs {self._inputs.shape}, targets {self._targets.shape} and "
                f"valid {self._valid.shape} differ in shape. Required: one shape [N, H, W]. "
                "Pass arrays of the same boards in the same order."
            )

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Example `index`: input int32 `[H, W]`, target int32 `[H, W]`, valid bool `[H, W]`."""
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(
                f"Example {index} of {self!r} was asked for. Required: 0 to {len(self) - 1}. "
                "Take the index modulo len(source)."
            )
        return {
            "input": self._inputs[index].astype(np.int32),
            "target": self._targets[index].astype(np.int32),
            "valid": self._valid[index].copy(),
        }

    def example(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Example `index`; boards are not augmented."""
        return self[index]

    def __repr__(self) -> str:
        # Grain compares representations when it restores a position.
        return f"GridSource(name={self.name!r}, split={self.split!r}, count={len(self)})"

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when any example, or their order, changes."""
        digest = hashlib.sha256(repr(self._inputs.shape).encode())
        for array in (self._inputs, self._targets, self._valid):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]


def check_request(name: str, split: str, train_examples: int, test_examples: int) -> None:
    """Raises a ValueError for an unknown split or a split without examples."""
    if split not in SPLITS:
        raise ValueError(
            f"Split {split!r} of {name} was asked for. Required: one of {', '.join(SPLITS)}. "
            'Type split="train" or split="test".'
        )
    if min(train_examples, test_examples) < 1:
        raise ValueError(
            f"{name} with train_examples {train_examples} and test_examples {test_examples} was "
            "asked for. Required: at least 1 of each. Raise the smaller one."
        )


def read_array(file: str | IO[bytes], where: str = "") -> np.ndarray:
    """The array of an .npy file.

    Args:
        file: its name, or the file itself.
        where: its name for messages; "" if `file` is the name.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or no .npy file.
    """
    found = read_arrays(file, where)
    if isinstance(found, np.lib.npyio.NpzFile):
        raise ValueError(
            f"{where or file} is an .npz file with the arrays {', '.join(found) or 'none'}. "
            "Required: an .npy file. Write one of them with numpy.save(FILE, array)."
        )
    return found


def read_arrays(file: str | IO[bytes], where: str = "") -> np.ndarray | np.lib.npyio.NpzFile:
    """The array of an .npy file, or an open .npz file for `read_member`; see `read_array`."""
    where = where or str(file)
    if isinstance(file, str):
        with open(file, "rb") as stream:
            check_fetched(stream.read(64), where)
    with _unreadable(where):
        return np.load(file)


def read_member(archive: np.lib.npyio.NpzFile, name: str, where: str) -> np.ndarray:
    """An array of an .npz file that `read_array` has opened.

    Raises:
        ValueError: it is damaged, or of Python objects.
    """
    with _unreadable(f"{where}, {name}"):
        return archive[name]


@contextlib.contextmanager
def _unreadable(where: str) -> Iterator[None]:
    """Turns what NumPy raises for a damaged file, or one of something else, into a ValueError."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.filename:
            raise  # it cannot be opened
        if "allow_pickle" in str(error) and "Object arrays" in str(error):
            raise ValueError(
                f"{where} holds Python objects, which can run any code. Required: an array of "
                "numbers or strings. Write it with numpy.save(FILE, array.astype(str)), or with "
                ".astype(int) if they are numbers."
            ) from error
        reason = "its first bytes are not those of NumPy" if "allow_pickle" in str(error) else error
        raise ValueError(
            f"{where} cannot be read: {reason}. Required: a whole file of numbers, as "
            "numpy.save or numpy.savez write it. Copy or write it again."
        ) from error


def collect(
    draw: Callable[[int], Boards],
    count: int,
    *,
    patience: int,
    hint: str,
    description: str,
    processes: int | None = None,
    progress: bool = False,
) -> Boards:
    """The first `count` distinct boards of draw(0), draw(1), ..., in that order.

    The result depends only on `draw` and `count`, not on the number of processes: chunks are
    computed ahead but consumed in order. The first n boards do not depend on `count`.

    Args:
        draw: picklable function of the chunk's index; returns inputs and labels, uint8
            `[n, H, W]` with any n, including 0.
        count: number of boards.
        patience: number of consecutive chunks without a new board after which to give up.
        hint: what the user can do then, for the error message.
        description: what is generated, for the progress bar and the error message.
        processes: number of processes; None for one per core, at most 16. More than one requires
            `if __name__ == "__main__":` in the calling script; otherwise one does all the work.
        progress: whether to show a progress bar.

    Raises:
        ValueError: when `count` distinct boards cannot be found.
    """
    seen: set[bytes] = set()
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    barren = 0
    chunks = _in_order(draw, processes or min(os.cpu_count() or 1, 16))
    with tqdm(total=count, desc=description, unit="board", disable=not progress) as bar:
        while len(inputs) < count:
            before = len(inputs)
            for board, label in zip(*next(chunks), strict=True):
                key = board.tobytes()
                if key not in seen and len(inputs) < count:
                    seen.add(key)
                    inputs.append(board)
                    labels.append(label)
            bar.update(len(inputs) - before)
            barren = 0 if len(inputs) > before else barren + 1
            if barren >= patience:
                chunks.close()
                raise ValueError(
                    f"{description}: {len(inputs)} distinct boards found, and none in the last "
                    f"{barren} chunks of random boards. Required: {count}. {hint}"
                )
    chunks.close()
    return np.stack(inputs), np.stack(labels)


def _in_order(draw: Callable[[int], Boards], processes: int) -> Generator[Boards, None, None]:
    """Yields draw(0), draw(1), ... without end, computed ahead by `processes` processes."""
    yield draw(0)  # small requests end here, before any process is started
    number = 1
    if processes > 1:
        # Not fork: JAX has started threads.
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(processes, mp_context=context)
        pending: collections.deque[concurrent.futures.Future[Boards]] = collections.deque()
        try:
            while True:
                while len(pending) < 2 * processes:
                    pending.append(pool.submit(draw, number + len(pending)))
                yield pending.popleft().result()
                number += 1
        except concurrent.futures.process.BrokenProcessPool:
            # A script without `if __name__ == "__main__":`, or one from standard input.
            warnings.warn(
                "The processes that generate boards could not start or were killed; this process "
                "goes on alone, more slowly. Required: a script whose code is under `if __name__ "
                '== "__main__":`, and enough memory for the processes.',
                stacklevel=2,
            )
        finally:
            pool.shutdown(cancel_futures=True)
    while True:
        yield draw(number)
        number += 1


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Silences the output of TFDS about downloads, shards and configurations."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


class BoardBuilder(tfds.core.GeneratorBasedBuilder):
    """Generated boards as a TFDS data set, with disjoint training and test boards.

    A subclass defines `name`, `VERSION` (to be raised when the generator changes its boards),
    `DESCRIPTION` and the two abstract methods. Its configuration has the fields `train_examples`
    and `test_examples`.
    """

    DESCRIPTION: str

    @abc.abstractmethod
    def board_shape(self) -> tuple[int, int]:
        """Height and width, cells."""

    @abc.abstractmethod
    def generate_boards(self, count: int) -> Boards:
        """`count` distinct boards; the first n of them do not depend on `count`."""

    def _info(self) -> tfds.core.DatasetInfo:
        feature = tfds.features.Tensor(
            shape=self.board_shape(), dtype=np.uint8, encoding=tfds.features.Encoding.ZLIB
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict({"input": feature, "label": feature}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        inputs, labels = self.generate_boards(config.train_examples + config.test_examples)
        # The test boards come first: with more training examples they stay the same.
        split = config.test_examples
        return {
            "train": self._generate_examples(inputs[split:], labels[split:]),
            "test": self._generate_examples(inputs[:split], labels[:split]),
        }

    def _generate_examples(self, inputs, labels):
        for index, (board, answer) in enumerate(zip(inputs, labels, strict=True)):
            yield index, {"input": board, "label": answer}


def prepare_once(builder: tfds.core.DatasetBuilder) -> str:
    """The folder of a data set, which is written first if it does not exist.

    TFDS writes into a folder `incomplete.*` and renames it at the end, so that a folder with the
    final name is complete. Hosts that share a disk may prepare the data set at the same time:
    they write the same examples, and the first to finish wins.

    Raises:
        ValueError: the final folder exists but is incomplete.
    """
    folder = os.fspath(builder.data_path)
    finished = os.path.join(folder, "dataset_info.json")
    if os.path.isdir(folder) and not os.path.isfile(finished):
        raise ValueError(
            f"{folder} has no dataset_info.json: the data set is incomplete. Required: a "
            f"complete data set, or no such folder. Type: rm -r '{folder}' and start again."
        )
    try:
        with quiet_tfds():
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
    except OSError:
        # Renaming fails if another host has finished first, and then the folder is complete.
        if not os.path.isfile(finished):
            raise
    return folder


def prepared(
    kind: type[BoardBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: str | os.PathLike,
    split: str,
) -> Boards:
    """One split of a generated data set, in memory; `prepare_once` writes it to disk if needed.

    Returns:
        Inputs and labels, uint8 `[N, H, W]`, in the order in which they were generated.
    """
    with quiet_tfds():
        builder = kind(data_dir=data_dir, config=config, file_format="array_record")
    prepare_once(builder)
    examples = list(builder.as_data_source(split=split))
    inputs, labels = (np.stack([x[name] for x in examples]) for name in ("input", "label"))
    return inputs, labels
