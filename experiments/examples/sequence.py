"""A Winfree network that reads and writes text: it learns to add.

    python -m experiments.examples.sequence

Sums such as '47+85=132.' are sequences of tokens, one oscillator per token and channel, coupled
by attention under a causal mask. Trained to name the next token of the answer, the network then
writes whole answers to sums it has not met. Nothing here is more than `evolve`, a coupling and
random phases from the library, in a module that holds the parameters.

Measured on 23 November 2026, float32, on two cores of an Intel Xeon at 2.6 GHz: 95.1 % of 1000
unseen sums of numbers below 100 answered exactly after 3000 updates (seed 0), in 4 min 7 s.
"""

import argparse
import time
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from wonn_jax import evolve
from wonn_jax.nn.coupling import AttentionCoupling, causal_mask
from wonn_jax.nn.interactions import TRIGONOMETRIC
from wonn_jax.nn.layers import dense
from wonn_jax.nn.phases import initial_phases
from wonn_jax.nn.transitions import PhaseEmbedding
from wonn_jax.rng import example_keys, stream_key

ALPHABET = " 0123456789+=."  # ' ' pads, '.' ends the answer
PADDING, EQUALS = 0, ALPHABET.index("=")
BATCH = 128


class LanguageModel(nn.Module):
    """One oscillator per token and channel; a token may hear those before it and itself.

    The norm is taken over each token alone: over all tokens it would tell the first about the
    last, whatever the mask.
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
            **TRIGONOMETRIC._asdict(),
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
    """Tokens `[n, N]` → texts, each up to the end of its answer."""
    return ["".join(ALPHABET[i] for i in row).split(".")[0] for row in np.asarray(tokens)]


def answer(tokens: Array) -> Array:
    """`[B, N]` booleans: what stands after '=', padding included."""
    return jnp.cumsum(tokens == EQUALS, axis=1) - (tokens == EQUALS) > 0


def main(argv: Sequence[str] | None = None) -> tuple[list[float], float]:
    """Trains, prints, and returns the losses printed and the accuracy at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000, help="updates")
    parser.add_argument("--width", type=int, default=64, help="oscillators per token")
    parser.add_argument("--digits", type=int, default=2, help="of a summand, at most")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(argv)

    # Every pair of summands once, in random order: the first of them are never trained on.
    limit = 10**flags.digits
    pairs = np.random.default_rng(flags.seed).permutation(limit**2)[:200_000]
    data = jnp.asarray(encode(np.stack(np.divmod(pairs, limit), axis=1), flags.digits))
    unseen = min(1000, len(data) // 10)
    test, train = data[:unseen], data[unseen:]
    model = LanguageModel(flags.width)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.warmup_cosine_decay_schedule(6e-4, 6e-3, flags.steps // 20, flags.steps)),
    )

    def phases(stream: str, step: Array | int, ids: Array) -> Array:
        keys = example_keys(stream_key(flags.seed, stream, step), ids)
        return initial_phases(keys, (data.shape[1] - 1, flags.width))

    def loss_of(params, tokens: Array, theta: Array) -> Array:
        """Mean cross-entropy of the next token over the answers, their ends included."""
        logits = model.apply(params, tokens[:, :-1], theta)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        counts = (answer(tokens) & (tokens != PADDING))[:, 1:]
        return (losses * counts).sum() / counts.sum()

    @jax.jit
    def update(params, state, step: Array):
        ids = jax.random.randint(stream_key(flags.seed, "batch", step), (BATCH,), 0, len(train))
        theta = phases("train", step, ids)
        loss, gradients = jax.value_and_grad(loss_of)(params, train[ids], theta)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    @jax.jit
    def solve(params, tokens: Array) -> Array:
        """Writes the answers, token by token, the likeliest each time."""
        theta, asked = phases("test", 0, jnp.arange(len(tokens))), ~answer(tokens)

        def write(place: Array, text: Array) -> Array:
            likeliest = model.apply(params, text[:, :-1], theta)[:, place - 1].argmax(axis=-1)
            return text.at[:, place].set(
                jnp.where(asked[:, place], text[:, place], likeliest.astype(text.dtype))
            )

        return jax.lax.fori_loop(4, tokens.shape[1], write, jnp.where(asked, tokens, PADDING))

    params = model.init(
        stream_key(flags.seed, "parameters"), train[:1, :-1], phases("train", 0, jnp.arange(1))
    )
    state, losses, start = optimizer.init(params), [], time.perf_counter()
    for step in range(1, flags.steps + 1):
        params, state, loss = update(params, state, jnp.asarray(step))
        if step % max(flags.steps // 10, 1) == 0:
            text = solve(params, test)
            # After the end of an answer nothing is asked.
            exact = float(((text == test) | (test == PADDING)).all(axis=1).mean())
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
