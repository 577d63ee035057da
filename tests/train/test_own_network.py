"""A network of one's own: one file with its settings, one card, and everything else as it is."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from cards import card, changed
from runs import QUICK, ROOT, run

from wonn_jax.config import components
from wonn_jax.evaluators import PLAIN
from wonn_jax.evaluators.run import run_eval
from wonn_jax.tools import flags
from wonn_jax.tools.cards import load_card
from wonn_jax.tools.describe import run_describe
from wonn_jax.tools.network import config_of_run
from wonn_jax.train.card import Config, freeze
from wonn_jax.train.card import card as as_card
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.lines import read_lines
from wonn_jax.train.loop import train

pytestmark = pytest.mark.usefixtures("quick_compilation")

NETWORK = '''
"""A perceptron for boards."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from wonn_jax.common.checks import at_least, share
from wonn_jax.config import register
from wonn_jax.models.base import ModelConfig, Output
from wonn_jax.nn.dropout import Dropout


class BoardPerceptron(nn.Module):
    tokens: int
    classes: int
    width: int
    rate: float
    placement: Any

    @nn.compact
    def __call__(self, tokens, *, train=False, weight=None):
        x = jax.nn.one_hot(tokens, self.tokens).reshape(len(tokens), -1)
        x = nn.relu(nn.Dense(self.width, name="hidden")(x))
        x = Dropout(self.rate, self.placement, whole=True)(x, train=train)
        x = nn.Dense(tokens[0].size * self.classes, name="logits")(x)
        return Output(x.reshape(*tokens.shape, self.classes))


@register("test perceptron")
@dataclasses.dataclass(frozen=True)
class BoardPerceptronConfig(ModelConfig):
    width: int = 32  # hidden units
    rate: float = 0.5  # of dropout

    def check(self):
        super().check()
        at_least(1, "model", self, "width")
        share("model", self, "rate", one=False)

    def build(self, examples, placement=None):
        boards = self.boards(examples)
        return BoardPerceptron(boards.tokens, boards.classes, self.width, self.rate, placement)
'''.lstrip()

CARD = """
from board_perceptron import BoardPerceptronConfig

from wonn_jax.data import Mazes
from wonn_jax.evaluators import PLAIN
from wonn_jax.tasks import MazeConfig
from wonn_jax.train.batches import TrainConfig
from wonn_jax.train.card import Config, card
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.metrics import LogConfig


def get_config():
    config = Config(
        task=MazeConfig(),
        data=Mazes(height=5, width=5, train_examples=16),
        model=BoardPerceptronConfig(),
        train=TrainConfig(length="4 steps", batch_size=16),
        eval=EvalConfig(evaluators=PLAIN),
        log=LogConfig(every="1 steps"),
    )
    return card(config)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "board_perceptron.py").write_text(NETWORK)
    (folder / "card.py").write_text(CARD)
    assert len(NETWORK.splitlines()) <= 45
    return folder


@pytest.fixture
def own(folder, mazes, monkeypatch):
    """The card with fields changed, as the command line loads it."""
    monkeypatch.syspath_prepend(str(folder))

    def configure(**changes) -> Config:
        spec = importlib.util.spec_from_file_location("card", folder / "card.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found: ml_collections.ConfigDict = module.get_config()
        return freeze(changed(found, data__path=str(mazes), **changes))

    return configure


def losses(workdir: Path) -> list[float]:
    lines = read_lines(workdir / "metrics.jsonl")
    return [x["loss"] for x in lines if x["kind"] == "train"]


def test_it_trains_is_evaluated_and_described(own, tmp_path, capsys):
    config = own(optimizer__learning_rate=1e-2, train__length="40 steps", model__rate=0.1)
    assert Experiment(config).abstract_state().model_state == {}
    results = train(config, tmp_path)
    assert np.mean(losses(tmp_path)[-5:]) < 0.5 * np.mean(losses(tmp_path)[:5])
    found = run_eval(config, tmp_path)
    assert found["ema"]["accuracy"] == results["ema_accuracy"]
    assert config_of_run(tmp_path) == config
    assert json.loads((tmp_path / "config.json").read_text())["model"]["rate"] == 0.1
    run_describe(config)
    text = capsys.readouterr().out
    assert "hidden.kernel" in text and "training, one step of 16 examples" in text


def test_dropout_is_drawn_anew_in_every_step_and_the_same_in_every_run(own, tmp_path):
    """Of the same weights, and the same example in the same row: what changes is the draw."""
    still = {"optimizer__learning_rate": 0.0, "data__train_examples": 1, "train__batch_size": 4}
    for run_name, rate in (("first", 0.5), ("second", 0.5), ("none", 0.0)):
        train(own(**still, model__rate=rate), tmp_path / run_name)
    first, second, none = (losses(tmp_path / x) for x in ("first", "second", "none"))
    assert first == second and len(first) == 4
    assert min(abs(np.diff(np.sort(first)))) > 1e-4
    np.testing.assert_allclose(none, none[0], rtol=1e-6)
    # A resumed run draws as if it had not been interrupted.
    train(own(**still, train__length="2 steps"), tmp_path / "resumed")
    train(own(**still), tmp_path / "resumed")
    assert losses(tmp_path / "resumed") == first


def test_the_command_line_and_one_device(own, folder, mazes, tmp_path):
    train(own(), tmp_path / "four")
    arguments = [
        *(sys.executable, "-m", "wonn_jax.main", f"--config={folder / 'card.py'}"),
        *(f"--config.data.path={mazes}", f"--workdir={tmp_path / 'one'}"),
    ]
    result = run(arguments, PYTHONPATH=f"{ROOT}:{folder}", **QUICK)
    assert result.returncode == 0, result.stderr
    assert "device   1 × cpu" in result.stdout
    np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / "four"), rtol=1e-5)


def test_its_mistakes_are_named(own, folder):
    with pytest.raises(ValueError, match=r"config\.model\.rate=1\.0 must be at least 0 and below"):
        own(model__rate=1.0)
    with pytest.raises(ValueError, match=r"config\.mesh\.grid=2 .*'test perceptron' does not supp"):
        Experiment(own(mesh__grid=2), 16).check()
    path = str(folder / "card.py")
    argv = ["main", f"--config={path}", "--config.model.widht=8"]
    text = flags._explain(load_card(path), argv, ValueError("no such field"))
    assert "'widht'; did you mean config.model.width? It has precision, rate, width" in text


def test_the_network_of_the_readme(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    code = text[text.index("## A network of your own") :]
    code = code[code.index("```python\n") + 10 :]
    (tmp_path / "readme_network.py").write_text(code[: code.index("```")])
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(components("model"))
    importlib.import_module("readme_network")
    (name,) = set(components("model")) - before
    model = components("model")[name]()
    base = freeze(card("digits"))
    evaluation = dataclasses.replace(base.eval, evaluators=PLAIN, pictures=0)
    length = dataclasses.replace(base.train, length="50 steps")
    config = dataclasses.replace(base, model=model, eval=evaluation, train=length)
    results = train(freeze(as_card(config)), tmp_path / "run")
    assert results["raw_accuracy"] > 0.3
