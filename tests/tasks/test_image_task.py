"""Images: the loss with smoothing and CutMix, top-1 and top-5, and the steps on many devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wonn_jax import config as configuration
from wonn_jax.dist import mesh as sharding
from wonn_jax.dist.grid import ALONE
from wonn_jax.evaluators.accuracy import over_draws
from wonn_jax.models import build
from wonn_jax.rng import stream_key
from wonn_jax.tasks import ImageTask
from wonn_jax.train import step
from wonn_jax.train.step import batch_phases, init_state, make_eval_step, make_train_step

KEY = jax.random.key(3)
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """These programs run for milliseconds and would be compiled for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "compiler_options", lambda: QUICK)
        yield


def small_config(**changes):
    config = configuration.default_config()
    config.task = "image"
    config.data.name, config.data.classes, config.data.image_size = "digits", 6, 8
    config.data.mean, config.data.deviation = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
    config.model.width, config.model.heads = 8, 2
    config.model.layers, config.model.steps = 1, (1,)
    config.train.last_batch = "drop"
    config.ema.after, config.ema.every = 0, 1
    for name, value in changes.items():
        group, _, field = name.partition("__")
        config[group][field] = value
    return configuration.freeze(config)


MIXED = {"augment__erasing": 0.5, "augment__cutmix": 1.0, "train__label_smoothing": 0.1}


def random_batch(rows: int = 8, classes: int = 6, side: int = 8):
    rng = np.random.default_rng(0)
    return {
        "input": rng.integers(0, 256, (rows, side, side, 3), np.uint8),
        "target": rng.integers(0, classes, rows, np.int32),
        "id": np.arange(rows, dtype=np.int32),
    }


def random_logits(rows: int = 8, classes: int = 6) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, classes)).astype(np.float32)


def cross_entropy(logits: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Of every row; `goal` are classes `[B]` or probabilities `[B, classes]`."""
    if goal.ndim == 1:
        goal = np.eye(logits.shape[1])[goal]
    logits = logits.astype(np.float64)
    return -(goal * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1)


def mean_loss(task, logits, batch) -> float:
    return float(task.loss_sum(jnp.asarray(logits), batch) / task.loss_count(batch))


# --- Loss ------------------------------------------------------------------------------------


def test_loss_is_the_mean_cross_entropy():
    logits, batch = random_logits(), random_batch()
    want = cross_entropy(logits, batch["target"]).mean()
    task = ImageTask(6)
    np.testing.assert_allclose(mean_loss(task, logits, batch), want, rtol=1e-6)
    for counts in (task.training_counts, task.counts):
        found = task.training_metrics(counts(jnp.asarray(logits), batch))
        np.testing.assert_allclose(found["loss"], want, rtol=1e-6)
        assert found["accuracy"] == pytest.approx((logits.argmax(1) == batch["target"]).mean())


def test_label_smoothing_is_of_training_alone():
    logits, batch = random_logits(), random_batch()
    goal = 0.9 * np.eye(6)[batch["target"]] + 0.1 / 6
    smooth, plain = (cross_entropy(logits, x).mean() for x in (goal, batch["target"]))
    assert abs(smooth - plain) > 0.005
    task = ImageTask(6, label_smoothing=0.1)
    np.testing.assert_allclose(mean_loss(task, logits, batch), smooth, rtol=1e-6)
    training = task.training_counts(jnp.asarray(logits), batch)
    np.testing.assert_allclose(training["loss"], 8 * smooth, rtol=1e-6)
    np.testing.assert_allclose(task.counts(jnp.asarray(logits), batch)["loss"], 8 * plain, 1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cutmix_weighs_the_loss_by_area(smoothing):
    task = ImageTask(6, label_smoothing=smoothing, cutmix=1.0)
    logits, batch = random_logits(), random_batch()
    # One value for each picture, so that every pixel tells where it is from.
    batch["input"] = np.broadcast_to(np.arange(8)[:, None, None, None], (8, 8, 8, 3))
    batch["input"] = batch["input"].astype(np.uint8)
    mixed = task.prepare(batch, KEY)
    own = np.rint(np.asarray(mixed["input"]) * 255) == batch["input"]
    share = own.mean((1, 2, 3))
    assert 0 < share[0] < 1 and (share == share[0]).all()
    np.testing.assert_allclose(mixed["share"], share, rtol=1e-6)
    np.testing.assert_array_equal(mixed["other"], batch["target"][::-1])
    entropy = [
        cross_entropy(logits, (1 - smoothing) * np.eye(6)[x] + smoothing / 6)
        for x in (batch["target"], batch["target"][::-1])
    ]
    want = share * entropy[0] + (1 - share) * entropy[1]
    np.testing.assert_allclose(mean_loss(task, logits, mixed), want.mean(), rtol=1e-6)
    assert abs(want.mean() - entropy[0].mean()) > 0.01


def test_a_batch_that_is_not_mixed_has_the_plain_loss():
    task, logits, batch = ImageTask(6, cutmix=0.5), random_logits(), random_batch()
    plain = mean_loss(ImageTask(6), logits, batch)
    mixed = [task.prepare(batch, jax.random.key(i)) for i in range(12)]
    whole = [bool((x["share"] == 1).all()) for x in mixed]
    assert 0 < sum(whole) < 12
    for found, untouched in zip(mixed, whole, strict=True):
        assert (mean_loss(task, logits, found) == pytest.approx(plain, rel=1e-6)) == untouched


def test_padding_never_counts():
    task = ImageTask(6, label_smoothing=0.1)
    logits, batch = random_logits(), random_batch()
    short = {name: x[:5] for name, x in batch.items()}
    batch["id"] = np.where(np.arange(8) < 5, batch["id"], -1)
    logits[5:] = 100 * np.eye(6)[batch["target"][5:]]  # right, and sure of it
    for counts in (task.training_counts, task.counts):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
            counts(jnp.asarray(logits), batch),
            counts(jnp.asarray(logits[:5]), short),
        )
    assert task.loss_count(batch) == 5


# --- Metrics ---------------------------------------------------------------------------------


def test_top_5_and_ties():
    """Whole numbers are often equal; then the class of the lower number is first."""
    rng = np.random.default_rng(2)
    logits = rng.integers(0, 4, (500, 9)).astype(np.float32)
    batch = {"target": rng.integers(0, 9, 500, np.int32), "id": np.arange(500)}
    order = np.argsort(-logits, 1, kind="stable")
    hits = order == batch["target"][:, None]
    task = ImageTask(9)
    found = task.summarise(task.counts(jnp.asarray(logits), batch))
    assert found["top_5"] == pytest.approx(hits[:, :5].any(1).mean())
    assert found["accuracy"] == pytest.approx(hits[:, 0].mean())
    level = {"target": np.arange(9, dtype=np.int32), "id": np.arange(9)}
    counts = task.counts(jnp.zeros((9, 9)), level)
    assert (counts["right"], counts["right_5"]) == (1, 5)


def test_fewer_than_five_classes_are_always_among_five():
    logits, batch = random_logits(classes=3), random_batch(classes=3)
    task = ImageTask(3)
    assert task.summarise(task.counts(jnp.asarray(logits), batch))["top_5"] == 1


# --- What is done on the device --------------------------------------------------------------


def test_without_a_key_pictures_are_only_normalised():
    config = small_config(**MIXED)
    batch = random_batch()
    found = ImageTask.from_config(config).prepare(batch)
    assert found.keys() == batch.keys()
    want = (batch["input"] / 255 - config.data.mean) / config.data.deviation
    np.testing.assert_allclose(found["input"], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["target"], batch["target"])


def test_erasing_depends_on_key_and_number_alone():
    task, batch = ImageTask(6, erasing=0.5), random_batch(16)
    batch["input"] = np.maximum(batch["input"], 1)  # 0 is what is erased
    found = np.asarray(task.prepare(batch, KEY)["input"])
    erased = (found == 0).any((1, 2, 3))
    assert 0 < erased.sum() < 16
    order = np.random.default_rng(4).permutation(16)
    moved = task.prepare({name: x[order] for name, x in batch.items()}, KEY)
    np.testing.assert_array_equal(moved["input"], found[order])
    assert (np.asarray(task.prepare(batch, jax.random.key(4))["input"]) != found).any()
    renamed = task.prepare(batch | {"id": batch["id"] + 16}, KEY)
    assert (np.asarray(renamed["input"]) != found).any()


# --- Steps -----------------------------------------------------------------------------------


@functools.cache
def initial_state(model):
    """For plain SGD; it is the same whatever the images go through."""
    config = small_config()
    create = jax.jit(
        lambda: init_state(model, ImageTask(6), optax.sgd(0.1), config), compiler_options=QUICK
    )
    return jax.device_get(create())


@functools.cache
def run_steps(devices: int, steps: int = 2, **changes):
    """State and metrics after some steps of plain SGD, which hides no wrong scale."""
    config = small_config(**changes)
    mesh = sharding.make_mesh(devices=jax.devices()[:devices])
    task, model = build(config, sharding.placement(mesh))
    model = model.clone(dtype=jnp.float64)  # leaves rounding out of the comparison
    if config.model.name == "resnet":
        model = model.clone(blocks=(1, 1))
    optimizer = optax.sgd(0.1)
    state = jax.device_put(initial_state(model.clone(placement=ALONE)), sharding.replicated(mesh))
    update = make_train_step(model, task, optimizer, lambda _: 0.1, config, mesh)
    batch = sharding.put_batch(random_batch(), mesh)
    losses = []
    for _ in range(steps):
        state, metrics = update(state, batch)
        losses.append(float(metrics["loss"]))
    evaluate = make_eval_step(model, task, config, mesh)
    counts, predictions = evaluate(state.variables("ema"), batch)
    return jax.device_get((state, metrics, counts, predictions)), losses


def assert_close(left, right, rtol=1e-4, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), left, right)


@pytest.mark.parametrize("devices", [2, 4])
def test_equal_on_any_number_of_devices(devices, x64):
    """With CutMix, whose partners are on other devices, erasing and smoothing."""
    assert_close(run_steps(devices, **MIXED), run_steps(1, **MIXED))


def test_accumulation(x64):
    """Mixed before it is split: only BatchNorm, which sees half a batch, makes a difference."""
    parts, whole = run_steps(2, train__accumulate=2, **MIXED), run_steps(2, **MIXED)
    assert parts[0][1]["images"] == 8
    np.testing.assert_allclose(parts[1], whole[1], rtol=0.1)
    assert parts[1] != whole[1]


def test_a_resnet_through_the_same_steps(x64):
    changes = {"model__name": "resnet", "model__width": 4}
    one, two = (run_steps(n, **changes) for n in (1, 2))
    assert_close(one, two)
    (state, _, counts, predictions), _ = one
    assert int(state.step) == 2 and counts[0]["images"] == 8 and predictions.shape == (8,)


@pytest.fixture(scope="module")
def drawn():
    """Task, counts and predictions of 1 and of 3 draws, and the logits of these."""
    batch = random_batch()
    found = {}
    for draws in (1, 3):
        # So much noise that the draws do not agree.
        config = small_config(eval__draws=draws, model__phase_scale=3.0)
        mesh = sharding.make_mesh(devices=jax.devices()[:2])
        task, model = build(config, sharding.placement(mesh))
        variables = initial_state(model.clone(placement=ALONE)).variables("raw")
        evaluate = make_eval_step(model, task, config, mesh)
        found[draws] = jax.device_get(
            evaluate(
                jax.device_put(variables, sharding.replicated(mesh)),
                sharding.put_batch(batch, mesh),
            )
        )
    _, model = build(config)
    prepared = task.prepare(jax.tree.map(jnp.asarray, batch))
    apply = jax.jit(model.apply, compiler_options=QUICK)
    logits = []
    for draw in range(3):
        key = stream_key(config.seed, "evaluation phases", draw)
        phases = batch_phases(model, prepared, key, config)
        logits.append(np.asarray(apply(variables, prepared["input"], phases).logits))
    return task, batch, found, np.stack(logits)


def test_draws_and_their_ensemble(drawn):
    task, batch, found, logits = drawn
    counts, predictions = found[3]
    assert len(counts) == 4
    assert np.ptp(logits, 0).max() > 0.01
    for count, x in zip(counts, logits, strict=False):
        loss = cross_entropy(x, batch["target"]).sum()
        np.testing.assert_allclose(count["loss"], loss, rtol=1e-5)
        assert count["right"] == (x.argmax(1) == batch["target"]).sum()
    np.testing.assert_array_equal(predictions, logits[0].argmax(1))
    odds = np.exp(logits.astype(np.float64))
    mean = (odds / odds.sum(2, keepdims=True)).mean(0)
    loss = -np.log(mean[np.arange(8), batch["target"]]).sum()
    np.testing.assert_allclose(counts[3]["loss"], loss, rtol=1e-5)
    assert counts[3]["right"] == (mean.argmax(1) == batch["target"]).sum()

    metrics = over_draws([task.summarise(x) for x in counts])
    losses = np.array([cross_entropy(x, batch["target"]).mean() for x in logits])
    right = (logits.argmax(2) == batch["target"]).mean(1)
    for name, values in (("loss", losses), ("accuracy", right)):
        np.testing.assert_allclose(metrics[name], values.mean(), rtol=1e-5)
        spread = np.sqrt(((values - values.mean()) ** 2).sum() / 2)
        np.testing.assert_allclose(metrics[f"{name}_std"], spread, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(metrics["ensemble_loss"], loss / 8, rtol=1e-5)
    assert metrics["ensemble_loss"] < metrics["loss"]
    assert {"top_5", "top_5_std", "ensemble_top_5"} < metrics.keys() and len(metrics) == 9


def test_one_draw_is_the_first_of_three(drawn):
    task, _, found, _ = drawn
    (one,), predictions = found[1]
    assert_close(one, found[3][0][0], rtol=1e-6)
    np.testing.assert_array_equal(predictions, found[3][1])
    assert over_draws([task.summarise(one)]) == task.summarise(one)
