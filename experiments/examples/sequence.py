"""A Winfree network as a language model: it learns to add.

    python -m experiments.examples.sequence

Sums such as '47+85=132.' are sequences of tokens with one oscillator per token and channel,
coupled by causal attention. The network is trained to predict the next token of the answer, and
is tested by generating whole answers to unseen sums. It needs nothing from the library but
`evolve`, a coupling, and random initial phases, in a module that holds the parameters.

Measured on 23 November 2026, float32, on two cores of an Intel Xeon at 2.6 GHz: 95.1 % of 1000
unseen sums of numbers below 100 answered exactly after 3000 updates (seed 0), in 4 min 7 s.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from wonn_jax import evolve
from wonn_jax.common.rng import example_keys, stream_key
from wonn_jax.nn.coupling import AttentionCoupling, causal_mask
from wonn_jax.nn.interactions import trigonometric
from wonn_jax.nn.layers import dense
from wonn_jax.nn.phases import initial_phases
from wonn_jax.nn.transitions import PhaseEmbedding

ALPHABET = " 0123456789+=."  # ' ' pads, '.' ends the answer
PADDING, EQUALS = 0, ALPHABET.index("=")
BATCH = 128


class LanguageModel(nn.Module):
    """One oscillator per token and channel; a token attends to itself and to earlier ones.

    The coupling is normalised over each token separately: a norm over all tokens would leak
    later tokens into earlier ones in spite of the mask.
    """

    width: int
    heads: int = 4
    steps: int = 8
    step_size: float = 0.5  # unit time

    @nn.compact
    def __call__(self, tokens: Array, theta: Array) -> Array:
        """tokens `[B, N]`, theta `[B, N, C]` in rad → logits of each next token `[B, N, K]`."""
        table = self.param("frequency", nn.initializers.normal(1.0), (len(ALPHABET), self.width))
        coupling = AttentionCoupling(self.width, self.heads, norm="token", name="coupling")
        codes = coupling.position_codes(jnp.arange(tokens.shape[1])[:, None])
        mask, valid = causal_mask(tokens.shape[1]), tokens != PADDING

        def field(influences: Array) -> Array:
            return coupling(influences, codes, mask=mask, valid=valid)

        if self.is_initializing():  # parameters must exist before the scan
            field(theta)
        theta = evolve(
            theta,
            table[tokens],
            **trigonometric()._asdict(),
            coupling=field,
            step_size=self.step_size,
            steps=self.steps,
            event_ndim=2,
        ).theta
        x = PhaseEmbedding(name="embedding")(theta)
        x = nn.relu(dense(self.width, 2 * self.width, dtype=x.dtype, name="hidden")(x))
        return dense(2 * self.width, len(ALPHABET), dtype=x.dtype, name="logits")(x)


def encode(pairs: np.ndarray, digits: int) -> np.ndarray:
    """Pairs of numbers `[n, 2]` → texts like '47+385=432.', padded, as tokens `[n, N]`."""
    length = 3 * digits + 4
    texts = "".join(f"{a}+{b}={a + b}.".ljust(length) for a, b in pairs.tolist())
    codes = np.zeros(128, np.int32)
    codes[[ord(c) for c in ALPHABET]] = np.arange(len(ALPHABET))
    return codes[np.frombuffer(texts.encode(), np.uint8)].reshape(-1, length)


def decode(tokens: Array) -> list[str]:
    """Tokens `[n, N]` → texts, each cut off at the end of its answer."""
    return ["".join(ALPHABET[i] for i in row).split(".")[0] for row in np.asarray(tokens)]


def answer(tokens: Array) -> Array:
    """Whether a token belongs to the answer, i.e. follows '=' (padding included), `[B, N]`."""
    return jnp.cumsum(tokens == EQUALS, axis=1) - (tokens == EQUALS) > 0


class Trainer:
    """Updates and tests of a model on one data set, as functions of the seed and the step."""

    def __init__(self, model: LanguageModel, train: Array, seed: int, steps: int):
        self.model, self.train, self.seed = model, train, seed
        schedule = optax.warmup_cosine_decay_schedule(6e-4, 6e-3, steps // 20, steps)
        self.optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
        self.update = jax.jit(self._update)
        self.solve = jax.jit(self._solve)

    def phases(self, stream: str, step: Array | int, ids: Array) -> Array:
        """Initial phases of the examples with these numbers `[B, N - 1, C]`, rad."""
        keys = example_keys(stream_key(self.seed, stream, step), ids)
        return initial_phases(keys, (self.train.shape[1] - 1, self.model.width))

    def init(self) -> tuple[Any, optax.OptState]:
        """Initial parameters and optimizer state."""
        theta = self.phases("train", 0, jnp.arange(1))
        key = stream_key(self.seed, "parameters")
        params = self.model.init(key, self.train[:1, :-1], theta)
        return params, self.optimizer.init(params)

    def _loss(self, params: Any, tokens: Array, theta: Array) -> Array:
        """Mean cross-entropy of the next token over the answers, including their final '.'."""
        logits = self.model.apply(params, tokens[:, :-1], theta)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        counts = (answer(tokens) & (tokens != PADDING))[:, 1:]
        return (losses * counts).sum() / counts.sum()

    def _update(
        self, params: Any, state: optax.OptState, step: Array
    ) -> tuple[Any, optax.OptState, Array]:
        """One update on a random batch: parameters, optimizer state and loss."""
        key = stream_key(self.seed, "batch", step)
        ids = jax.random.randint(key, (BATCH,), 0, len(self.train))
        theta = self.phases("train", step, ids)
        loss, gradients = jax.value_and_grad(self._loss)(params, self.train[ids], theta)
        updates, state = self.optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    def _solve(self, params: Any, tokens: Array) -> Array:
        """Generates the answers token by token, always taking the most likely one."""
        theta, asked = self.phases("test", 0, jnp.arange(len(tokens))), ~answer(tokens)

        def write(place: Array, text: Array) -> Array:
            logits = self.model.apply(params, text[:, :-1], theta)
            likeliest = logits[:, place - 1].argmax(axis=-1)
            return text.at[:, place].set(
                jnp.where(asked[:, place], text[:, place], likeliest.astype(text.dtype))
            )

        return jax.lax.fori_loop(4, tokens.shape[1], write, jnp.where(asked, tokens, PADDING))


def exact_share(text: Array, expected: Array) -> float:
    """Share of the answers that are right in full; what follows the final '.' is ignored."""
    return float(((text == expected) | (expected == PADDING)).all(axis=1).mean())


def main(argv: Sequence[str] | None = None) -> tuple[list[float], float]:
    """Trains and tests the network; returns the losses it printed and the final accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000, help="number of updates")
    parser.add_argument("--width", type=int, default=64, help="oscillators per token")
    parser.add_argument("--digits", type=int, default=2, help="largest number of digits")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(argv)

    # Every pair of summands once, in random order; the first ones are held out for the test.
    numbers = 10**flags.digits
    pairs = np.random.default_rng(flags.seed).permutation(numbers**2)[:200_000]
    data = jnp.asarray(encode(np.stack(np.divmod(pairs, numbers), axis=1), flags.digits))
    unseen = min(1000, len(data) // 10)
    test, train = data[:unseen], data[unseen:]
    trainer = Trainer(LanguageModel(flags.width), train, flags.seed, flags.steps)
    params, state = trainer.init()
    losses, start = [], time.perf_counter()
    for step in range(1, flags.steps + 1):
        params, state, loss = trainer.update(params, state, jnp.asarray(step))
        if step % max(flags.steps // 10, 1) == 0:
            text = trainer.solve(params, test)
            exact = exact_share(text, test)
            losses.append(float(loss))
            seconds = time.perf_counter() - start
            print(
                f"step {step:5d}  loss {loss:.4f}  exact {exact:6.1%}  {seconds:4.0f} s", flush=True
            )
    for written, right in zip(decode(text[:8]), decode(test[:8]), strict=True):
        print(f"  {written:12s}", "right" if written == right else f"wrong: {right}")
    return losses, exact


if __name__ == "__main__":
    main()
