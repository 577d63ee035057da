"""Steps that are compiled once, and the messages about what does not fit."""

import jax
import jax.numpy as jnp
import pytest
from cards import card, changed
from miniatures import miniature

from wonn_jax.train.card import freeze
from wonn_jax.train.experiment import CompiledStep, Experiment
from wonn_jax.train.summary import device_line


def test_a_step_is_compiled_once_and_takes_one_shape():
    traced = []

    def double(x):
        traced.append(x.shape)
        return 2 * x

    step = CompiledStep(jax.jit(double))
    assert step.seconds == 0
    step.compile(jax.ShapeDtypeStruct((3,), jnp.float32))
    seconds = step.seconds
    assert seconds > 0
    for _ in range(2):
        assert step(jnp.ones(3)).tolist() == [2, 2, 2]
    assert traced == [(3,)] and step.seconds == seconds
    with pytest.raises(TypeError, match=r"float32\[3\].*float32\[4\]"):
        step(jnp.ones(4))


def profiled(start: int, steps: int) -> Experiment:
    changes = {"profile__start": start, "profile__steps": steps}
    return Experiment(miniature("maze", train__length="20 steps", **changes), 1000)


def test_a_trace_beyond_the_run():
    profiled(15, 5).check()
    profiled(100, 0).check()  # none
    with pytest.raises(ValueError, match=r"up to step 23, but the run has 20; try .*start=15\."):
        profiled(18, 5).check()
    with pytest.raises(ValueError, match=r"start=0 --config\.profile\.steps=20\."):
        profiled(0, 30).check()


def test_a_run_of_more_steps_than_are_counted():
    config = miniature("maze", train__length="2000000000 epochs")
    with pytest.raises(ValueError, match=r"'2000000000 epochs' is 32,000,000,000 steps; at most 2"):
        Experiment(config, 1000).check()


@pytest.mark.parametrize("field", ["profile.start", "profile.steps", "log.peak_flops"])
def test_negative_numbers(field):
    with pytest.raises(ValueError, match=rf"config\.{field}=-1.* must be at least 0"):
        miniature("maze", **{field.replace(".", "__"): -1})


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"mesh.data": 3}, r"data 3 × fsdp 1 × grid 1\) does not fit 4 devices"),
        ({"mesh.fsdp": 8}, r"fsdp 8 × grid 1 cannot, --config\.mesh\.fsdp=1"),
        ({"mesh.data": 0}, r"mesh\.data=0 must be at least 1, or -1"),
        ({"mesh.fsdp": -1}, r"mesh\.data and config\.mesh\.fsdp are both -1"),
        (
            {"mesh.fsdp": 2, "mesh.grid": 2, "train.batch_size": 5},
            r"batch_size=5 cannot be split over 2 devices \(config\.mesh\.data × config\.mesh\.fsdp"
            r"\); it must be a multiple of 2: --config\.train\.batch_size=4 or 6\.",
        ),
        (
            {"mesh.grid": 4},
            r"mesh\.grid=4 does not split config\.data\.height=30 into equal rows; it can be "
            r"1, 2, 3, 5, 6, 10, 15, 30: --config\.mesh\.grid=3\.",
        ),
        (
            {"mesh.grid": 2, "data.image_size": 28, "model.patch": 2, "model.group": 4},
            r"data\.image_size=28 in patches of 2 and groups of 4 into equal rows; it can be 1:",
        ),
        (
            {"mesh.grid": 2, "model.blocks": (1,)},
            r"mesh\.grid=2 splits the cells of oscillators over devices, which config\.model\.name="
            r"'resnet' does not support: --config\.mesh\.grid=1",
        ),
    ],
)
def test_a_mesh_that_does_not_fit(fields, reason):
    """Four devices: what is wrong with the mesh, and what to type."""
    name: tuple[str, ...] = ("maze_hard",)
    if "model.patch" in fields:
        name = ("cifar10",)
    if "model.blocks" in fields:
        name = ("cifar10", "resnet18")
    changes = {field.replace(".", "__"): value for field, value in fields.items()}
    with pytest.raises(ValueError, match=reason):
        Experiment(freeze(changed(card(*name), **changes)), 1000).check()


def test_the_line_of_devices_tells_the_mesh():
    assert "mesh" not in device_line(Experiment(miniature("maze")).mesh)
    line = device_line(Experiment(miniature("maze", mesh__fsdp=2, mesh__grid=2)).mesh)
    assert line.startswith("4 × cpu, mesh fsdp 2 × grid 2 (jax")
