"""The example of a sequence model: it learns, and its pieces do what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.examples import sequence


def test_loss_falls(capsys):
    losses, exact = sequence.main(["--steps=60", "--width=16", "--digits=1"])
    assert len(losses) == 10
    assert losses[-1] < 0.8 * losses[0]
    assert 0 <= exact <= 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[9].startswith("step    60  loss ") and " exact " in printed[9]
    assert len(printed) == 18 and all("=" in line for line in printed[10:])


def test_texts():
    tokens = sequence.encode(np.array([[47, 385], [0, 0]]), 3)
    assert tokens.shape == (2, 13)
    texts = ["".join(sequence.ALPHABET[i] for i in row) for row in tokens]
    assert texts == ["47+385=432.  ", "0+0=0.       "]
    assert sequence.decode(tokens) == ["47+385=432", "0+0=0"]
    answers = np.asarray(sequence.answer(jnp.asarray(tokens)))
    assert answers.sum(axis=1).tolist() == [6, 9]
    assert answers[0, 7] and not answers[0, 6]


@pytest.mark.parametrize("place", [3, 5])
def test_no_token_attends_to_later_ones(place):
    model = sequence.LanguageModel(16)
    tokens = jnp.asarray(sequence.encode(np.array([[47, 385]]), 3))
    theta = jnp.zeros((*tokens.shape, 16))
    params = jax.jit(model.init)(jax.random.key(0), tokens, theta)
    logits = jax.jit(model.apply)
    difference = logits(params, tokens.at[0, place].set(1), theta) - logits(params, tokens, theta)
    changed = np.abs(difference[0]).max(axis=-1) > 0
    assert not changed[:place].any() and changed[place:10].all()
