"""The state dict of a network is found in what trainers and wrappers put around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.interop import from_pytorch, load_state_dict

MOMENTS = {"state": {0: {"exp_avg": np.zeros(3), "step": 3}}, "param_groups": [{"lr": 1e-3}]}


@pytest.fixture(scope="module")
def state(reference_fixtures):
    return load_state_dict(reference_fixtures / "maze_l2.npz")


def prefixed(prefix, state):
    return {prefix + name: x for name, x in state.items()}


def inside(part, wrapper, state):
    """With a wrapper around one module within the network."""
    return {name.replace(part, f"{part}{wrapper}."): x for name, x in state.items()}


def averaged(state):
    """Other weights under the same names."""
    return {
        name: x + 0.5 if name.endswith(("weight", "bias")) else x
        for name, x in state.items()
        if not name.startswith("conv0")
    }


def parameters(state):
    """What an optimizer, or an average of parameters, has entries for."""
    return {name: x for name, x in state.items() if name.endswith(("weight", "bias", "template"))}


def float_as(dtype, state):
    return {name: x.astype(dtype) if x.dtype == np.float64 else x for name, x in state.items()}


WRAPPED = {
    "DDP": lambda x: prefixed("module.", x),
    "a compiler": lambda x: prefixed("_orig_mod.", x),
    "several at once": lambda x: prefixed("module._orig_mod.ema_model.module.", x),
    "an average": lambda x: prefixed("module.", x) | {"n_averaged": np.array(3)},
    "shadow": lambda x: prefixed("shadow.", x),
    "an unknown name": lambda x: prefixed("wonn.backbone.", x),
    "slashes": lambda x: prefixed("model/", x),
    "FSDP": lambda x: prefixed(
        "_fsdp_wrapped_module.", inside("layers.0.", "_fsdp_wrapped_module", x)
    ),
    "a compiled layer": lambda x: inside("layers.1.2.", "_orig_mod", x),
    "checkpointed": lambda x: inside("layers.1.", "_checkpoint_wrapped_module", x),
    "model and optimizer": lambda x: {"model": x, "optimizer": MOMENTS, "step": 3, "args": "-v"},
    "Lightning": lambda x: {
        "epoch": 3,
        "state_dict": prefixed("model.", x) | {"criterion.weight": np.ones(5)},
        "optimizer_states": [MOMENTS],
        "callbacks": {},
    },
    "Lightning, compiled": lambda x: {"state_dict": prefixed("net._orig_mod.", x)},
    "ema": lambda x: {"ema": x},
    "ema with its decay": lambda x: {"ema": {"decay": 0.999, "shadow": prefixed("module.", x)}},
    "deep": lambda x: {"checkpoint": {"state": {"network": x}}},
    "a list": lambda x: {"states": [x, MOMENTS]},
    "moments by name": lambda x: {"model": x, "optimizer": {"exp_avg": parameters(x)}},
    "the same twice": lambda x: {"model": x, "ema": prefixed("module.", x)},
    "an average of parameters": lambda x: {"model": x, "shadow": parameters(averaged(x))},
    "counters and settings": lambda x: (
        x | {"step": np.array(7), "lr": 0.1, "name": "a", "on": None}
    ),
    "texts in NumPy": lambda x: x | {"names": np.array(["a", "b"]), "ids": np.arange(3)},
    "γ as a scalar": lambda x: x | {"gamma": np.array(0.1)},
    "counters with an axis": lambda x: {n: np.atleast_1d(a) for n, a in x.items()},
    "the other byte order": lambda x: {
        n: a.astype(a.dtype.newbyteorder(">")) for n, a in x.items()
    },
    "arrays of JAX": lambda x: x | {"out.bias": jnp.asarray(x["out.bias"], jnp.float32)},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_come_off(state, wrap):
    expected = from_pytorch(state)
    found = from_pytorch(wrap(state))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_constants_agree_as_exactly_as_they_are_stored(state, dtype):
    """0.1 is 0.10009765625 in bfloat16."""
    stored = float_as(jnp.dtype(dtype), state)
    assert float(stored["gamma"][0]) != 0.1
    bias = from_pytorch(stored)["params"]["logits"]["bias"]
    assert bias.dtype == jnp.dtype(dtype)
    with pytest.raises(ValueError, match=r"have step size γ = 0\.\d+, the model 0\.2"):
        from_pytorch(stored, step_size=0.2)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_weights_converted_back_from_half_precision(state, dtype):
    back = float_as(np.float64, float_as(dtype, state))
    back = {name: np.asarray(x, np.float32) for name, x in back.items()}
    from_pytorch(back)
    nearly = float(back["gamma"][0]) * 1.0005
    with pytest.raises(ValueError, match="step size"):
        from_pytorch(back | {"gamma": np.array([nearly], np.float32)})


def test_float32_weights_have_the_step_size_exactly(state):
    exact = float_as(np.float32, state)
    from_pytorch(exact)
    rounded = np.array([0.1], jnp.bfloat16).astype(np.float32)
    with pytest.raises(ValueError, match=r"γ = 0\.100098"):
        from_pytorch(exact | {"gamma": rounded})


def test_of_several_sets_the_user_chooses(state, tmp_path):
    ema = averaged(state)
    content = {"model": state, "ema": {"shadow": prefixed("module.", ema)}, "optimizer": MOMENTS}
    with pytest.raises(
        ValueError, match=r"several sets of weights: 'model', 'ema\.shadow\.module'\."
    ):
        from_pytorch(content)
    flat = prefixed("model.", state) | prefixed("ema_model.", ema) | state
    np.savez(tmp_path / "both.npz", **flat)
    both = tmp_path / "both.npz"
    with pytest.raises(ValueError, match=r"both\.npz holds several .*, as in FILE:model$"):
        from_pytorch(both)
    for label, expected in (("model", state), ("ema_model", ema), (".", state)):
        found = load_state_dict(f"{both}:{label}")
        np.testing.assert_array_equal(found["out.bias"], expected["out.bias"])
    with pytest.raises(ValueError, match=r"has no weights 'raw'; it has model, ema_model, \."):
        load_state_dict(f"{both}:raw")
    both.rename(tmp_path / "a:model")  # the name of a file comes first
    with pytest.raises(ValueError, match="holds several sets"):
        load_state_dict(tmp_path / "a:model")


def test_other_networks_are_described_in_a_few_names(state):
    other = {f"blocks.{i}.attn.weight": np.ones((3, 3)) for i in range(50)}
    with pytest.raises(ValueError) as error:
        from_pytorch({"model": other})
    message = str(error.value)
    assert "model.blocks.0.attn.weight float64[3, 3]" in message and "and 46 more" in message
    assert len(message) < 500
    with pytest.raises(ValueError) as error:
        from_pytorch(state | other)
    assert "Unknown tensors: blocks.0.attn.weight [3, 3]" in str(error.value)
    assert "and 46 more" in str(error.value)
    with pytest.raises(ValueError, match=r"Missing tensors: layers\.1\.1\.fusion\.1\.running_mean"):
        from_pytorch(parameters(state))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(state, value):
    bias = state["out.bias"].copy()
    bias[:2] = value
    with pytest.raises(ValueError, match=r"out\.bias has 2 of \d+ values that are NaN or infinite"):
        from_pytorch({"model": state | {"out.bias": bias}})


def test_a_dictionary_that_contains_itself(state):
    content = {"model": dict(state)}
    content["all"] = [content]
    assert from_pytorch(content).keys() == from_pytorch(state).keys()
    with pytest.raises(ValueError, match="contains no tensors"):
        del content["model"]
        from_pytorch(content)


@pytest.mark.parametrize("content", [{}, {"step": 3}, {"a": {"b": None}}, {"shadow": []}])
def test_nothing_that_is_a_tensor(content):
    with pytest.raises(ValueError, match="contains no tensors by name"):
        from_pytorch(content)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (np.ones((5, 16, 1, 1), np.int8), "of type int8"),
        (np.ones((5, 16, 1, 1), np.complex64), "of type complex64"),
        (np.array(["a"]), "of type <U1"),
        (np.array([None]), "of type object"),
        ("hello", "a str"),
        (None, "a NoneType"),
    ],
)
def test_weights_are_floats(state, value, what):
    with pytest.raises(ValueError, match=f"out.weight is {what}; it must be an array of floats"):
        from_pytorch(state | {"out.weight": value})


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layers.0.2.coupling.0.W_o.weight", ()),
        ("layers.0.2.coupling.0.W_o.weight", (16,)),
        ("layers.0.2.coupling.1.bias", (16, 1)),
        ("f_init.omega_template", (4,)),
        ("decoder.0.proj.weight", (16, 2)),
        ("decoder.2.num_batches_tracked", (2,)),
    ],
)
def test_tensors_with_other_axes_are_refused(state, name, shape):
    changed = {n: x for n, x in state.items() if not n.startswith("conv0")}
    with pytest.raises(ValueError, match=rf"{name} has shape \({', '.join(map(str, shape))}"):
        from_pytorch(changed | {name: np.zeros(shape)})


def test_numbers_of_layers_cannot_be_absurd(state):
    far = {"layers.999999999999.2.coupling.0.W_o.weight": np.ones((2, 2))}
    with pytest.raises(ValueError, match=r"Unknown tensors: layers\.999999999999"):
        from_pytorch(state | far)


@pytest.mark.parametrize("gamma", [[], [0.1, 0.3], [np.nan], [0.2]])
def test_a_step_size_is_one_number(state, gamma):
    with pytest.raises(ValueError, match="have step size"):
        from_pytorch(state | {"gamma": np.array(gamma)})


# --- PyTorch tensors ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs the extra [torch]")


def test_tensors_of_pytorch_in_memory(state, torch):
    tensors = {name: torch.as_tensor(x) for name, x in state.items()}
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        half = {n: x.to(dtype) if x.is_floating_point() else x for n, x in tensors.items()}
        bias = from_pytorch(half)["params"]["logits"]["bias"]
        assert str(dtype) == f"torch.{bias.dtype}"
        np.testing.assert_array_equal(
            bias.astype(np.float32), half["out.bias"].to(torch.float32).numpy()
        )
    trained = {n: torch.nn.Parameter(x, x.is_floating_point()) for n, x in tensors.items()}
    from_pytorch(trained)


def test_special_tensors_are_refused(state, torch):
    for special in (torch.ones(5, 16).to_sparse(), torch.ones(5, 16, device="meta")):
        with pytest.raises(ValueError, match=r"out\.weight is a sparse, quantized or otherwise"):
            from_pytorch(state | {"out.weight": special})
