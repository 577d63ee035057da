"""Sudoku: fill in 9×9 boards with 31 to 42 givens; C 256, T 16, 1,581,577 parameters.

    python -m wonn_jax.main --config=configs/sudoku.py

The paper's recipe: 9000 boards, batch 100, 100 epochs (9000 steps), Adam 1e-3 constant,
bfloat16 maps, EMA 0.995 every 10 steps after 100. The paper reports 100 % exact boards; this
configuration has not been run to its end here.

Without `--config.data.path` the boards are generated first. It may name SATNet's arrays, HRM's
layout (`{train,test}/all__{inputs,labels}.npy`), `train.csv` and `test.csv` in a folder, or one csv
or npz file (`quizzes` and `solutions`, say). Of data that is split already, at most 9000 boards are
for training and at most 1000 for the test, the first ones; of other files, the first 9000 and the
next 1000. All of them:

    python -m wonn_jax.main --config=configs/sudoku.py --config.data.path=FILE_OR_FOLDER \
        --config.data.train_examples=0 --config.data.test_examples=0
"""

import ml_collections

from wonn_jax.data import Sudokus
from wonn_jax.evaluators import OSCILLATORS
from wonn_jax.models.grid import GridConfig
from wonn_jax.tasks import SudokuConfig
from wonn_jax.train.batches import TrainConfig
from wonn_jax.train.card import Config, card
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.optim import Adam


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    if preset:
        raise ValueError(f"configs/sudoku.py has no preset {preset!r}; leave it out.")
    config = Config(
        task=SudokuConfig(),
        data=Sudokus(train_examples=9000, test_examples=1000),
        model=GridConfig(
            width=256,
            layers=1,
            steps=(16,),
            heads=8,
            precision="bfloat16",
            keep_attention=False,  # of 81 tokens: computed again as fast as read
        ),
        optimizer=Adam(learning_rate=1e-3),
        train=TrainConfig(length="100 epochs", batch_size=100),
        eval=EvalConfig(every="5 epochs", batch_size=100, evaluators=OSCILLATORS),
    )
    return card(config)
