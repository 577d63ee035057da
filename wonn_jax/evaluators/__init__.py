"""Evaluators of trained weights: components with settings of their own, chosen by a card."""

from wonn_jax.evaluators.accuracy import Accuracy, AccuracyConfig
from wonn_jax.evaluators.adaptive import Adaptive, AdaptiveConfig
from wonn_jax.evaluators.voting import Voting, VotingConfig
from wonn_jax.train.evaluation import EvaluatorConfig

PLAIN: tuple[EvaluatorConfig, ...] = (AccuracyConfig(),)
"""For any network."""

OSCILLATORS: tuple[EvaluatorConfig, ...] = (AccuracyConfig(), AdaptiveConfig(), VotingConfig())
"""For networks of oscillators."""

__all__ = [
    "OSCILLATORS",
    "PLAIN",
    "Accuracy",
    "AccuracyConfig",
    "Adaptive",
    "AdaptiveConfig",
    "Voting",
    "VotingConfig",
]
