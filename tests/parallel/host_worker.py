"""One of several processes that agree and end together, and train nothing; see `test_hosts.py`.

python tests/parallel/host_worker.py SCENARIO FOLDER COORDINATOR INDEX COUNT SECONDS
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.parallel import hosts
from wonn_jax.tools.launch import fail
from wonn_jax.train.agenda import Agenda
from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.lock import locked


def join_only(index: int, folder: Path) -> None:
    """What the tests of `join` do."""


def agree(index: int, folder: Path) -> None:
    """Everything that hosts agree on; then process 0 has no room left on its disk."""
    wait_for_go(index, folder)
    print(f"gathered {hosts.gather('x' * 10**index)}")
    print(f"broadcast {hosts.broadcast(lambda: index)}")
    disagree(index, folder)
    save_by_the_clock(index)
    with Checkpoints(folder / "checkpoints", 2) as checkpoints:
        state = save_and_restore(index, checkpoints)
        print("restored", flush=True)
        if index == 0:
            shutil.disk_usage = lambda _: SimpleNamespace(free=0)
        checkpoints.save(2, state, {})
        checkpoints.wait()


def wait_for_go(index: int, folder: Path) -> None:
    """For the test to do something while the processes are connected."""
    hosts.barrier("connected")  # for Gloo to have opened its ports
    (folder / f"ready {index}").write_text("")
    while not (folder / "go").exists():
        time.sleep(0.05)


def disagree(index: int, folder: Path) -> None:
    hosts.compare("the weather", {"wind": 3}, "")
    with error_printed():
        hosts.compare("the weather", {"rain": index == 1, "wind": 3}, "Move house.")
    with locked(folder / "shared" / "run"):
        print("locked", [x.name for x in (folder / "shared" / "run").iterdir()])
        hosts.barrier("locked")
    with error_printed(), locked(folder / f"of host {index}" / "run"):
        pass
    if index == 0:
        (folder / "a file").write_text("")
    with error_printed(OSError), locked(folder / "a file"):
        pass


@contextlib.contextmanager
def error_printed(kind: type[Exception] = ValueError) -> Iterator[None]:
    try:
        yield
    except kind as error:
        print(error, flush=True)
    else:
        raise AssertionError("no error")


def mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((2,), ("data",), (jax.sharding.AxisType.Auto,))


def steps(number: int, work: Callable[[int], Any]) -> None:
    """Steps as the loop makes them: after step k is dispatched, step k − 1 of all is read."""
    split = jax.sharding.NamedSharding(mesh(), jax.sharding.PartitionSpec("data"))
    x = jax.make_array_from_callback((2,), split, lambda part: np.ones(2)[part])
    add = jax.jit(jnp.sum)
    before = add(x)
    for step in range(1, number + 1):
        dispatched = add(x)
        before.block_until_ready()
        before = dispatched
        if work(step):
            break


def save_by_the_clock(index: int) -> None:
    """Process 0 requests it from step 3 on until it is granted, then at step 9; 1 is not asked."""
    agenda = Agenda()
    saved: list[int] = []

    def work(step: int) -> None:
        requested = index == 1 or step in (9,) or (step >= 3 and not saved)
        if agenda.save_due(requested):
            saved.append(step)

    steps(12, work)
    agenda.close()
    print(f"saved {saved}")


def save_and_restore(index: int, checkpoints: Checkpoints) -> Any:
    """An array split over both processes, and one that both have."""
    split = jax.sharding.NamedSharding(mesh(), jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh(), jax.sharding.PartitionSpec())
    values = {"w": np.arange(8.0, dtype=np.float32), "b": np.ones(3, np.float32)}
    where = {"w": split, "b": whole}
    state = jax.tree.map(
        lambda x, s: jax.make_array_from_callback(x.shape, s, lambda part: x[part]), values, where
    )
    assert not state["w"].is_fully_addressable
    checkpoints.save(1, state, {})
    checkpoints.wait()
    assert checkpoints.steps() == [1]
    restored = checkpoints.restore(values, where)
    assert restored is not None and restored.state["w"].sharding == split
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x.addressable_shards[0].data, y),
        restored.state,
        {"w": values["w"][4 * index : 4 * index + 4], "b": values["b"]},
    )
    return state


def stop(index: int, folder: Path) -> None:
    """Host 1 gets a SIGINT at step 5, host 0 steps on meanwhile."""
    agenda = Agenda()
    stopped: dict[str, int] = {}

    def work(step: int) -> bool:
        time.sleep(0.05 + 0.01 * index)
        if step == 5 and index == 1:
            os.kill(os.getpid(), signal.SIGINT)
        if number := agenda.stop_due():
            stopped.update(step=step, number=number)
        return bool(number)

    steps(200, work)
    agenda.close()
    print(f"stopped after {stopped['step']}")
    hosts.finish(128 + stopped["number"])
    sys.exit(128 + stopped["number"])


def fail_alone(index: int, folder: Path) -> None:
    wait_for_go(index, folder)
    if index == 1:
        raise OSError("the disk is full")
    time.sleep(60)  # not in a computation that would fail


def fail_together(index: int, folder: Path) -> None:
    """The same error on both, on one of them later."""
    wait_for_go(index, folder)
    time.sleep(2 * index)
    raise ValueError("a wrong setting")


def unforeseen(index: int, folder: Path) -> None:
    wait_for_go(index, folder)
    if index == 0:
        raise KeyError("a mistake of ours")
    hosts.barrier("never")


def killed(index: int, folder: Path) -> None:
    wait_for_go(index, folder)
    time.sleep(60)


def main() -> None:
    what, folder, coordinator, index, count, seconds = sys.argv[1:]
    signal.alarm(200)  # whatever happens
    hosts._HEARTBEAT_SECONDS = 6  # for the tests not to wait
    try:
        if coordinator == "auto":
            hosts.join(seconds=float(seconds))
        else:
            hosts.join(coordinator, int(index), int(count), seconds=float(seconds))
        print(f"joined {jax.process_index()} {jax.process_count()}", flush=True)
        globals()[what](jax.process_index(), Path(folder))
        hosts.finish()
    except (ValueError, OSError, RuntimeError) as error:
        fail(error, traceback=False)
    except Exception as error:
        fail(error, traceback=True)


if __name__ == "__main__":
    main()
