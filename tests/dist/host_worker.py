"""One of several processes that speak to each other and train nothing; see `test_hosts.py`."""

import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.dist import host_link, hosts
from wonn_jax.tools.launch import fail
from wonn_jax.train.checkpoint import Checkpoints


def disagree(index: int, folder: Path) -> None:
    hosts.compare("the weather", {"rain": index == 1, "wind": 3}, "Move house.")


def folders(index: int, folder: Path) -> None:
    hosts.check_same_folder(folder / "shared" / "run")
    print("shared")
    hosts.check_same_folder(folder / f"of host {index}" / "run")


def agree(index: int, folder: Path) -> None:
    """Steps as the loop makes them: after step k is dispatched, step k − 1 of all is read."""
    mesh = jax.make_mesh((2,), ("data",), (jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = jax.make_array_from_callback((2,), split, lambda part: np.ones(2)[part])
    add = jax.jit(jnp.sum)
    if index == 0:
        delay(host_link.Line, "receive", 0.1, lambda message: message["do"] == "announced")
    agenda = hosts.Agenda()
    wishes = {3: "save", 4: "save", 9: "stop"} if index == 1 else {2: "save", 9: "stop"}
    done = []
    before = add(x)
    for step in range(1, 14):
        dispatched = add(x)
        before.block_until_ready()
        before = dispatched
        if index == 1:
            time.sleep(0.01)
        if what := agenda.after(step, wishes.get(step, "")):
            done.append((step, what))
    print(f"first says {hosts.first_says('who', lambda: f'host {index}')}")
    print(f"did {done}")


def delay(owner: Any, name: str, seconds: float, when: Callable[[Any], bool]) -> None:
    """Has a method return later, if what it returns is such."""
    method = getattr(owner, name)

    def slow(*args: Any) -> Any:
        result = method(*args)
        if when(result):
            time.sleep(seconds)
        return result

    setattr(owner, name, slow)


def fail_alone(index: int, folder: Path) -> None:
    if index == 1:
        raise OSError("the disk is full")
    time.sleep(60)  # as if waiting for a device


def fail_first(index: int, folder: Path) -> None:
    fail_alone(1 - index, folder)


def unforeseen(index: int, folder: Path) -> None:
    if index == 1:
        raise KeyError("a mistake of ours")
    hosts.barrier("never")


def save(index: int, folder: Path) -> None:
    """An array split over both processes; then process 0 has no room left."""
    mesh = jax.make_mesh((2,), ("data",), (jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    values = {"w": np.arange(8.0, dtype=np.float32), "b": np.ones(3, np.float32)}
    where = {"w": split, "b": whole}
    state = jax.tree.map(
        lambda x, s: jax.make_array_from_callback(x.shape, s, lambda part: x[part]), values, where
    )
    assert not state["w"].is_fully_addressable
    with Checkpoints(folder / "checkpoints", 2) as checkpoints:
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
        print("restored", flush=True)
        if index == 0:
            shutil.disk_usage = lambda _: SimpleNamespace(free=0)
        checkpoints.save(2, state, {})
        checkpoints.wait()


def killed(index: int, folder: Path) -> None:
    jax.devices()
    delay(host_link.Link, "cause", 1, lambda _: True)  # JAX's client would be faster to end it
    (folder / f"ready {index}").write_text("")
    hosts.barrier(f"where nobody but host {index} goes")


def main() -> None:
    what, folder, coordinator, index, count, seconds = sys.argv[1:]
    signal.alarm(100)  # whatever happens
    try:
        hosts.join(hosts.Place(coordinator, int(index), int(count)), float(seconds))
        print("joined", flush=True)
        globals()[what](int(index), Path(folder))
        hosts.finish()
    except (ValueError, OSError, RuntimeError) as error:
        fail(error, traceback=False)
    except BaseException as error:
        hosts.take_along(error)
        raise


if __name__ == "__main__":
    main()
