"""Images: the loss with smoothing and CutMix, top-1 and top-5, and the steps on many devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniatures import Experiment, miniature
from runs import QUICK_OPTIONS, quickly

from wonn_jax.common.examples import Images
from wonn_jax.common.rng import stream_key
from wonn_jax.evaluators import PLAIN
from wonn_jax.evaluators.accuracy import make_accuracy_step, over_draws
from wonn_jax.models.resnet import ResNetConfig
from wonn_jax.parallel import mesh as sharding
from wonn_jax.tasks import ImageTask
from wonn_jax.train.methods import Supervised
from wonn_jax.train.state import init_state

KEY = jax.random.key(3)


@pytest.fixture(scope="module", autouse=True)
def quick(compiled):
    """These programs run for milliseconds and would be compiled for seconds."""
    with quickly(compiled):
        yield


def image_task(classes: int = 6, **fields) -> ImageTask:
    return ImageTask(Images(8, classes), **fields)


def small_config(residual: bool = False, **changes):
    """A tiny experiment on images; `residual`: with a network that has no oscillators."""
    fields = {
        "data__classes": 6,
        "data__image_size": 8,
        "data__mean": (0.5, 0.4, 0.3),
        "data__std": (0.25, 0.2, 0.3),
        "model__layers": 1,
        "model__steps": (1,),
        "train__batch_size": 8,
        "train__last_batch": "drop",
        "ema__after": 0,
        "ema__every": 1,
    }
    config = miniature("image", **(fields | changes))
    if residual:
        evaluation = dataclasses.replace(config.eval, evaluators=PLAIN)
        model = ResNetConfig(width=4, blocks=(1, 1))
        config = dataclasses.replace(config, model=model, eval=evaluation)
        config.check()
    return config


MIXED = {"augment__erasing": 0.5, "augment__cutmix": 1.0, "task__label_smoothing": 0.1}


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
    task = image_task(6)
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
    task = image_task(6, label_smoothing=0.1)
    np.testing.assert_allclose(mean_loss(task, logits, batch), smooth, rtol=1e-6)
    training = task.training_counts(jnp.asarray(logits), batch)
    np.testing.assert_allclose(training["loss"], 8 * smooth, rtol=1e-6)
    np.testing.assert_allclose(task.counts(jnp.asarray(logits), batch)["loss"], 8 * plain, 1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cutmix_weighs_the_loss_by_area(smoothing):
    task = image_task(6, label_smoothing=smoothing, cutmix=1.0)
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
    task, logits, batch = image_task(6, cutmix=0.5), random_logits(), random_batch()
    plain = mean_loss(image_task(6), logits, batch)
    mixed = [task.prepare(batch, jax.random.key(i)) for i in range(12)]
    whole = [bool((x["share"] == 1).all()) for x in mixed]
    assert 0 < sum(whole) < 12
    for found, untouched in zip(mixed, whole, strict=True):
        assert (mean_loss(task, logits, found) == pytest.approx(plain, rel=1e-6)) == untouched


def test_padding_never_counts():
    task = image_task(6, label_smoothing=0.1)
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
    task = image_task(9)
    found = task.summarise(task.counts(jnp.asarray(logits), batch))
    assert found["top_5"] == pytest.approx(hits[:, :5].any(1).mean())
    assert found["accuracy"] == pytest.approx(hits[:, 0].mean())
    level = {"target": np.arange(9, dtype=np.int32), "id": np.arange(9)}
    counts = task.counts(jnp.zeros((9, 9)), level)
    assert (counts["right"], counts["right_5"]) == (1, 5)


def test_fewer_than_five_classes_are_always_among_five():
    logits, batch = random_logits(classes=3), random_batch(classes=3)
    task = image_task(3)
    assert task.summarise(task.counts(jnp.asarray(logits), batch))["top_5"] == 1


# --- What is done on the device --------------------------------------------------------------


def test_without_a_key_pictures_are_only_normalised():
    config = small_config(**MIXED)
    batch = random_batch()
    found = Experiment(config).task.prepare(batch)
    assert found.keys() == batch.keys()
    want = (batch["input"] / 255 - config.data.mean) / config.data.std
    np.testing.assert_allclose(found["input"], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["target"], batch["target"])


def test_erasing_depends_on_key_and_number_alone():
    task, batch = image_task(6, erasing=0.5), random_batch(16)
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
    """For plain SGD; it is the same whatever is done to the images."""
    method = Supervised(model, image_task())

    def create():
        return init_state(method, image_task(), optax.sgd(0.1), seed=0, rows=8)

    return jax.device_get(jax.jit(create, compiler_options=QUICK_OPTIONS)())


def in_float64(method: Supervised) -> Supervised:
    """The same with maps in float64, which leaves rounding out of a comparison."""
    return dataclasses.replace(method, model=method.model.clone(dtype=jnp.float64))


@functools.cache
def run_steps(devices: int, steps: int = 2, **changes):
    """State and metrics after some steps of plain SGD, which hides no wrong scale."""
    e = Experiment(small_config(**changes), devices=jax.devices()[:devices])
    e.method, e.alone, e.optimizer = in_float64(e.method), in_float64(e.alone), optax.sgd(0.1)
    state = jax.device_put(initial_state(e.alone.model), e.state_shardings)
    batch = sharding.put_batch(random_batch(), e.mesh)
    losses = []
    for _ in range(steps):
        state, metrics = e.train_step(state, batch)
        losses.append(float(metrics["loss"]))
    counts, predictions = make_accuracy_step(e)(state.variables("ema"), batch)
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
    one, two = (run_steps(n, residual=True) for n in (1, 2))
    assert_close(one, two)
    (state, _, counts, predictions), _ = one
    assert int(state.step) == 2 and counts[0]["images"] == 8 and predictions.shape == (8,)


@pytest.fixture(scope="module")
def drawn():
    """Task, counts and predictions of 1 and of 3 draws, and the logits of these."""
    batch = random_batch()
    # So much noise that the draws do not agree.
    e = Experiment(small_config(model__phase_scale=3.0), devices=jax.devices()[:2])
    variables = initial_state(e.alone.model).variables("raw")
    placed = jax.device_put(variables, sharding.replicated(e.mesh))
    found = {
        draws: jax.device_get(
            make_accuracy_step(e, draws)(placed, sharding.put_batch(batch, e.mesh))
        )
        for draws in (1, 3)
    }
    prepared = e.task.prepare(jax.tree.map(jnp.asarray, batch))
    apply = jax.jit(e.alone.model.apply, compiler_options=QUICK_OPTIONS)
    logits = []
    for draw in range(3):
        (phases,) = e.alone.start(prepared, stream_key(0, "evaluation phases", draw))
        logits.append(np.asarray(apply(variables, prepared["input"], phases).logits))
    return e.task, batch, found, np.stack(logits)


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


@pytest.mark.parametrize("logits", [[1e4, -1e4, 0], [-1e4, 1e4, 0], [7, 7, 7], [2, -jnp.inf, 0]])
def test_loss_and_gradient_are_finite_for_extreme_logits(logits):
    """Also with classes that are masked out, unless they are the target."""
    logits = np.array([logits], np.float32)
    batch = {"target": np.zeros(1, np.int32), "id": np.zeros(1, np.int32)}
    loss, gradient = jax.value_and_grad(image_task(3).loss_sum)(logits, batch)
    expected = np.logaddexp.reduce(logits[0].astype(float)) - logits[0, 0]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_the_loss_of_one_class_is_0():
    batch = {"target": np.zeros(2, np.int32), "id": np.arange(2, dtype=np.int32)}
    assert image_task(1).loss_sum(jnp.array([[1e4], [-1e4]]), batch) == 0
