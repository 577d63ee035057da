"""A Winfree network that reads and writes text: it learns to add.

python -m experiments.examples.sequence
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
from wonn_jax.coupling import AttentionCoupling, causal_mask
from wonn_jax.interactions import TRIGONOMETRIC
from wonn_jax.layers import dense
from wonn_jax.rng import example_keys, initial_phases, stream_key
from wonn_jax.transitions import PhaseEmbedding

ALPHABET = " 0123456789+=."  # ' ' pads, '.' ends the answer
TEST_SUMS = 1000


class LanguageModel(nn.Module):
    """One oscillator per token and channel; a token may hear those before it and itself.

    The norm is taken over each token alone: over all tokens it would tell the first about the
    last, whatever the mask.
    """

    width: int
    heads: int = 4
    steps: int = 8
    step_size: float = 0.25  # unit time

    @nn.compact
    def __call__(self, tokens: Array, theta: Array) -> Array:
        """tokens `[B, N]`, theta `[B, N, C]` in rad → logits of each next token `[B, N, K]`."""
        table = self.param("frequency", nn.initializers.normal(1.0), (len(ALPHABET), self.width))
        coupling = AttentionCoupling(self.width, self.heads, norm="token", name="coupling")
        codes = coupling.position_codes(jnp.arange(tokens.shape[1])[:, None])
        mask, valid = causal_mask(tokens.shape[1]), tokens > 0

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


def main(argv: Sequence[str] | None = None) -> dict[str, list[float]]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--T", type=int, default=8)
    parser.add_argument("--gamma", type=float, default=0.25)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--digits", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    limit = 10**a.digits
    pairs = np.random.default_rng(a.seed).permutation(limit * limit)
    if a.digits > 2:
        pairs = pairs[:101_000]
    data = encode(np.stack(np.divmod(pairs, limit), -1), a.digits)
    test, train = jnp.asarray(data[:1000]), jnp.asarray(data[1000:])
    model = LanguageModel(a.width, steps=a.T, step_size=a.gamma)
    N = data.shape[1]

    def phases(name, step, ids):
        return initial_phases(example_keys(stream_key(a.seed, name, step), ids), (N - 1, a.width))

    params = model.init(
        stream_key(a.seed, "parameters"), train[:1, :-1], phases("init", 0, jnp.arange(1))
    )
    print(sum(x.size for x in jax.tree.leaves(params)))
    sched = optax.warmup_cosine_decay_schedule(a.lr / 10, a.lr, 100, a.steps)
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(sched))
    state = opt.init(params)
    eq = ALPHABET.index("=")

    def loss_fn(params, tokens, theta):
        x, y = tokens[:, :-1], tokens[:, 1:]
        ans = (jnp.cumsum(x == eq, 1) > 0) & (y > 0)
        logits = model.apply(params, x, theta)
        ce = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        exact = ((logits.argmax(-1) == y) | ~ans).all(1).mean()
        return (ce * ans).sum() / ans.sum(), exact

    @jax.jit
    def step(params, state, i):
        ids = jax.random.randint(stream_key(a.seed, "batch", i), (a.batch,), 0, len(train))
        (l, e), g = jax.value_and_grad(loss_fn, has_aux=True)(
            params, train[ids], phases("phase", i, ids)
        )
        u, state = opt.update(g, state, params)
        return optax.apply_updates(params, u), state, l, e

    ev = jax.jit(lambda p: loss_fn(p, test, phases("eval", 0, jnp.arange(len(test)))))
    t = time.time()
    for i in range(a.steps):
        params, state, l, e = step(params, state, i)
        if (i + 1) % 200 == 0:
            print(
                i + 1,
                float(l),
                float(e),
                [float(x) for x in ev(params)],
                time.time() - t,
                flush=True,
            )


if __name__ == "__main__":
    main()
