"""Batches as a function of (seed, step, row)."""

import numpy as np
import pytest

from wonn_jax.data.pipeline import PADDING, eval_batches, steps_per_epoch, train_batches


class Numbers:
    """A source whose examples are their own numbers."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, rng: np.random.Generator):
        return {"input": np.asarray(index)}


def batches(count=10, *, start=0, stop=9, batch_size=4, last_batch="keep", seed=0, **rest):
    found = train_batches(
        Numbers(count),
        seed=seed,
        start=start,
        stop=stop,
        batch_size=batch_size,
        last_batch=last_batch,
        **rest,
    )
    return [batch["id"].tolist() for batch in found]


def test_an_epoch_holds_every_example_once_and_is_followed_by_another_order():
    rows = batches()
    epochs = [sum(rows[i : i + 3], []) for i in (0, 3, 6)]
    for epoch in epochs:
        assert sorted(epoch) == [PADDING, PADDING, *range(10)]
        assert epoch[-2:] == [PADDING, PADDING]
    assert epochs[0] != epochs[1] != epochs[2]


def test_dropped_last_batch():
    rows = batches(last_batch="drop", stop=4)
    assert all(len(set(sum(rows[i : i + 2], []))) == 8 for i in (0, 2))


def test_starting_late_sees_what_the_early_starter_saw():
    whole = batches()
    for start in (1, 3, 7, 9):
        assert batches(start=start) == whole[start:]


@pytest.mark.parametrize("processes", [2, 4])
def test_hosts_read_slices_of_the_one_batch(processes):
    whole = batches()
    rows = np.array_split(np.arange(4), processes)
    parts = [batches(rows=mine) for mine in rows]
    assert [sum(rows, []) for rows in zip(*parts, strict=True)] == whole


def test_seeds_and_sizes():
    assert batches(seed=1) != batches(seed=0) == batches(seed=0)
    first_epoch = sum(batches(stop=3), [])[:10]
    assert sum(batches(stop=2, batch_size=5), []) == first_epoch
    assert (steps_per_epoch(1000, 64, "keep"), steps_per_epoch(1000, 64, "drop")) == (16, 15)
    with pytest.raises(ValueError, match="3 training examples do not fill one batch of 4"):
        steps_per_epoch(3, 4, "drop")


def test_evaluation_counts_every_example_once():
    for size in (1, 3, 4, 10, 16):
        ids = [b["id"].tolist() for b in eval_batches(Numbers(10), batch_size=size)]
        assert all(len(rows) == size for rows in ids)
        assert [i for i in sum(ids, []) if i != PADDING] == list(range(10))
    some = [b["id"].tolist() for b in eval_batches(Numbers(10), batch_size=4, examples=6)]
    assert some == [[0, 1, 2, 3], [4, 5, PADDING, PADDING]]
