"""The evaluators together: one network, one way to compile, chosen and extended by config."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from cards import card as card_file
from cards import changed
from miniatures import Experiment, fresh_variables, miniature, random_batch

from wonn_jax import config as registry
from wonn_jax.config import register
from wonn_jax.evaluators import PLAIN, accuracy, adaptive, voting
from wonn_jax.evaluators.accuracy import EXAMPLES, VALUE, ensemble, make_accuracy_step
from wonn_jax.evaluators.adaptive import make_adaptive_step
from wonn_jax.evaluators.run import run_eval
from wonn_jax.evaluators.steps import steps_per_layer
from wonn_jax.evaluators.voting import make_vote_step
from wonn_jax.models.base import Stop
from wonn_jax.models.resnet import ResNetConfig
from wonn_jax.train import step
from wonn_jax.train.card import card, freeze
from wonn_jax.train.evaluation import EvaluatorConfig

# --- One network ------------------------------------------------------------------------------


def test_all_judge_the_same_network_when_layers_take_different_steps(quick_compilation):
    """T of (2, 6): the votes after the most steps are not those of layers of (6, 6)."""
    e = Experiment(miniature("image", model__steps=(2, 6)))
    variables = fresh_variables(e)
    batch = random_batch(e, 4)
    judge = make_accuracy_step(e)
    _, predictions = judge(variables, batch)
    # The first half is labelled with what the network answers, the others with another class.
    batch["target"] = np.where(np.arange(4) < 2, predictions, (np.asarray(predictions) + 1) % 10)

    (counts,), _ = judge(variables, batch)
    votes = make_vote_step(e, 2)(variables, batch)
    fixed = make_adaptive_step(e, steps_per_layer(e))(variables, batch)
    right = [True, True, False, False]
    assert (counts["right"], counts[VALUE + EXAMPLES]) == (2, 4)
    np.testing.assert_array_equal(votes.right["accuracy"][-1, :, 0], right)
    np.testing.assert_array_equal(fixed.right["accuracy"], right)
    np.testing.assert_array_equal(fixed.taken, [[2, 6]] * 4)
    energy = float(counts[f"{VALUE}energy"])
    np.testing.assert_allclose(votes.final[-1, :, 0].sum(), energy, rtol=1e-3)
    other = Experiment(miniature("image", model__steps=(6, 6)))
    (counts,), _ = make_accuracy_step(other)(variables, batch)
    assert abs(counts[f"{VALUE}energy"] / energy - 1) > 0.01


def test_steps_of_evaluation_are_those_of_all_layers():
    e = Experiment(miniature("image", model__steps=(2, 6), eval__steps=4))
    assert steps_per_layer(e) == (4, 4)
    assert accuracy.at_inference(e).model.steps == (4, 4)


# --- One way to compile -----------------------------------------------------------------------


def test_one_function_makes_their_compiled_steps(monkeypatch):
    e = Experiment(miniature("maze"))
    makers = {
        accuracy: lambda: make_accuracy_step(e),
        adaptive: lambda: make_adaptive_step(e, (3,), Stop("energy")),
        voting: lambda: make_vote_step(e, 2),
    }
    for module, make in makers.items():
        assert module.make_evaluation_step is step.make_evaluation_step
        monkeypatch.setattr(module, "make_evaluation_step", lambda *_, **__: "compiled")
        assert make() == "compiled", module.__name__


# --- Chosen by config -------------------------------------------------------------------------


def residual(**changes):
    """The card of images with a network that has no oscillators."""
    config = card_file("cifar10", "resnet18")
    return freeze(changed(config, **changes))


def test_a_network_without_oscillators_is_judged_by_accuracy_alone():
    assert residual().eval.evaluators == PLAIN
    for field, value in (("votes", 32), ("stop", "energy"), ("at_once", 8), ("max_steps", 9)):
        with pytest.raises(ValueError, match=rf"config\.eval\.{field}=.* is a field of .*leaves"):
            residual(**{f"eval__{field}": value})
    with pytest.raises(ValueError, match=r"config\.eval\.steps=4 is for oscillators.*'resnet'"):
        residual(eval__steps=4)
    for name in ("voting", "adaptive"):
        message = f"The evaluator '{name}' is for oscillators.*'resnet'.*config.eval.evaluators"
        with pytest.raises(ValueError, match=message):
            residual(eval__evaluators=("accuracy", name))


def test_an_unknown_evaluator_is_named():
    with pytest.raises(ValueError, match=r"eval\.evaluators='calibration' is unknown; .*voting"):
        miniature("maze", eval__evaluators=("calibration",))


def test_a_field_of_an_evaluator_that_was_not_chosen_is_refused():
    with pytest.raises(ValueError, match=r"votes=8 is a field of voting, which .* leaves out"):
        miniature("maze", eval__votes=8, eval__evaluators=("accuracy",))


# --- Extended ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class CountConfig(EvaluatorConfig):
    """An evaluator of a user: counts the examples whose number a divisor divides."""

    divisor: int = 0

    def check(self) -> None:
        if self.divisor < 0:
            raise ValueError(f"config.eval.divisor={self.divisor} must not be negative.")

    @property
    def active(self) -> bool:
        return self.divisor > 0

    def build(self, experiment: Experiment) -> "Count":
        return Count(experiment, self.divisor)


class Count:
    def __init__(self, experiment: Experiment, divisor: int):
        self.experiment, self.divisor = experiment, divisor

    def report(self, sets, source, workdir: Path, about):
        numbers = [x["id"] for x in self.experiment.evaluation_batches(source)]
        numbers = np.concatenate(numbers)
        found = int(((numbers >= 0) & (numbers % self.divisor == 0)).sum())
        print(f"{found} examples")
        return {"count": {name: found for name in sets}}


@pytest.fixture
def counting(monkeypatch):
    """The evaluator of the user, registered for one test; there are no weights for the others."""
    known = dict(registry.components("evaluator"))
    monkeypatch.setitem(registry._registry, "evaluator", known)
    register("count")(CountConfig)
    monkeypatch.setattr(accuracy.Accuracy, "report", lambda *_: {})


def test_an_evaluator_of_a_user_plugs_in(counting, mazes, tmp_path, monkeypatch, capsys):
    config = freeze(
        changed(
            card(miniature("maze")),
            eval__evaluators=("accuracy", "count"),
            eval__divisor=3,
            data__path=str(mazes),
        )
    )
    assert config.eval.evaluators == (accuracy.AccuracyConfig(), CountConfig(divisor=3))
    assert card(config).eval.divisor == 3  # as --config.eval.divisor=3 reaches it
    monkeypatch.setattr("wonn_jax.evaluators.run.saved_weights", lambda *_: ({"raw": {}}, "none"))
    report = run_eval(config, tmp_path)
    assert report["count"] == {"raw": 6}  # of 16 test boards: 0, 3, …, 15
    assert json.loads((tmp_path / "eval.json").read_text())["count"] == {"raw": 6}
    assert "6 examples" in capsys.readouterr().out
    with pytest.raises(ValueError, match="divisor=-1 must not be negative"):
        freeze(changed(card(config), eval__divisor=-1))


def test_an_evaluator_that_has_nothing_to_do_is_not_built(counting, mazes, tmp_path, monkeypatch):
    config = freeze(
        changed(
            card(miniature("maze")),
            eval__evaluators=("accuracy", "count"),
            data__path=str(mazes),
        )
    )
    monkeypatch.setattr("wonn_jax.evaluators.run.saved_weights", lambda *_: ({"raw": {}}, "none"))
    assert run_eval(config, tmp_path).keys() == {"weights", "data"}


def test_a_network_of_a_run_without_oscillators_cannot_be_voted_on():
    e = Experiment(residual(model=registry.to_dict(ResNetConfig(width=4, blocks=(1,)))))
    with pytest.raises(ValueError, match="'resnet' has no oscillators"):
        make_vote_step(e, 2)


@pytest.mark.parametrize("gap", [3.0, 150.0, 1e4])
def test_the_loss_of_an_ensemble_is_finite_for_confident_networks(gap):
    """Two draws of two are sure of class 1, which is wrong; one of two is sure of class 0."""
    agree = jnp.array([[[0.0, gap]], [[0.0, gap]]])
    np.testing.assert_allclose(-ensemble(agree)[0, 0], np.logaddexp(0, gap), rtol=1e-6)
    differ = jnp.array([[[0.0, gap]], [[gap, 0.0]]])
    np.testing.assert_allclose(ensemble(differ), np.log(0.5) * np.ones((1, 2)), rtol=1e-6)
