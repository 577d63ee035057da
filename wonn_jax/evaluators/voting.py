"""Energy voting: of several draws of the initial phases, the answer with the lowest energy.

The WONN paper (arXiv 2605.20922) votes on Maze-hard with K = 32 draws and one step more than in
training. The energy of a draw is that of the state before its last step, or the sum over all steps
(and layers); labels are not used. For comparison, from the same draws: a single draw, the majority
in every cell, and the oracle, which is right if any draw is.

A device processes a fixed number of draws together, independent of the number of examples in a
batch, so that results do not depend on the batch size or the number of devices.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import Array
from jax.sharding import PartitionSpec as P
from scipy import stats

from wonn_jax.common.checks import at_least
from wonn_jax.common.files import write_json
from wonn_jax.common.rng import stream_key
from wonn_jax.config import register
from wonn_jax.data.pipeline import Source
from wonn_jax.evaluators.steps import oscillators, steps_per_layer
from wonn_jax.parallel.mesh import ROWS, put_batch
from wonn_jax.tasks import Batch
from wonn_jax.tasks.pictures import new_figure, save_figure
from wonn_jax.train.evaluation import EvaluatorConfig, evaluated_examples
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.state import Variables
from wonn_jax.train.step import make_evaluation_step

PHASES_TOGETHER = 2**22
"""Number of phases that a device processes together, unless that exceeds 64 draws."""

RULES = ("lowest final energy", "lowest energy sum", "majority of each cell", "any draw (oracle)")


@register("voting")
@dataclasses.dataclass(frozen=True)
class VotingConfig(EvaluatorConfig):
    """Settings of `Voting`."""

    oscillatory: ClassVar[bool] = True

    votes: int = 1  # --mode=eval: draws of the initial phases to choose from; 1: no voting
    at_once: int = 0  # draws that a device processes together; 0: chosen by their size

    def check(self) -> None:
        at_least(1, "eval", self, "votes")
        at_least(0, "eval", self, "at_once")
        if self.at_once and self.votes == 1:
            raise ValueError(
                f"config.eval.at_once={self.at_once} has no effect without voting; use "
                "--config.eval.votes=32, or leave it out."
            )

    @property
    def active(self) -> bool:
        return self.votes > 1

    def check_model(self, model: Any) -> None:
        if self.active and getattr(model, "initial_phase", "") == "zeros":
            raise ValueError(
                f"config.eval.votes={self.votes} draws are all the same with "
                "config.model.initial_phase='zeros'; use --config.model.initial_phase=noise."
            )

    def build(self, experiment: Experiment) -> "Voting":
        return Voting(experiment, self.votes, self.at_once)


class Votes(NamedTuple):
    """Results of K draws for each of N examples, after each of R numbers of steps.

    Majorities are taken over G groups of consecutive draws, see `groups`.

    final: energy of the state before the last step `[R, N, K]`.
    total: energy summed over steps and layers `[R, N, K]`.
    right: whether a draw is right `[R, N, K]`, by metric.
    majority: whether the majority of a group is right `[R, N, G]`, by metric.
    """

    final: Any
    total: Any
    right: dict[str, Any]
    majority: dict[str, Any]


def read_at(steps: int) -> tuple[int, ...]:
    """Numbers of steps, up to `steps`, after which answers are read: 1, 2, 3, 4, 6, 8, 12, …"""
    found = {steps, *(n for e in range(20) for n in (2**e, 3 * 2**e))}
    return tuple(n for n in sorted(found) if n <= steps)


def groups(draws: int) -> list[tuple[int, int]]:
    """Disjoint blocks of 1, 2, 4, … draws, and all draws, as (first draw, number of draws)."""
    sizes = [2**e for e in range(draws.bit_length()) if 2**e < draws] + [draws]
    return [(first, n) for n in sizes for first in range(0, draws - n + 1, n)]


def make_vote_step(experiment: Experiment, draws: int, at_once: int = 0) -> jax.stages.Wrapped:
    """The compiled step `(variables, batch) -> Votes`, with the draws of `Accuracy`.

    With several layers, the answer after k steps is that of a network in which each layer takes k
    steps, but no more than its T.

    Args:
      experiment: of the network.
      draws: K.
      at_once: draws that a device processes together; 0: chosen by their size.
    """
    model, task, seed = oscillators(experiment), experiment.task, experiment.config.seed
    lengths = steps_per_layer(experiment)
    marks = read_at(max(lengths))

    def answers(variables: Variables, batch: Batch, draw: Array):
        """Predicted classes `[R, n, ...]` and energies `[R, n]` of a draw of each example."""
        keys = jax.vmap(
            lambda k, example: jax.random.fold_in(stream_key(seed, "evaluation phases", k), example)
        )(draw, batch["id"])
        theta = model.initial_phases(keys, batch["input"].shape[1:])

        def run(steps: tuple[int, ...], **more: Any):
            network = model.clone(steps=steps)
            return network.apply(variables, batch["input"], theta, energies=True, **more)

        if model.layers == 1:  # one pass gives the answers after fewer steps, too
            output: Any = run(lengths, trajectory=True, read_at=marks)
            energies = output.layers[0].energies
            last = jnp.asarray(marks) - 1
            return output.read_early.argmax(-1), energies[last], energies.cumsum(0)[last]
        found = []
        for mark in marks:
            output = run(tuple(min(mark, length) for length in lengths))
            final = output.layers[-1].energies[-1]
            total = sum(layer.energies.sum(0) for layer in output.layers)
            found.append((output.logits.argmax(-1), final, total))
        return tuple(jnp.stack(x) for x in zip(*found, strict=True))

    def vote(variables: Variables, batch: Batch) -> Votes:
        rows = len(batch["id"])
        size = math.prod(model.phase_shape(batch["input"].shape[1:]))
        together = at_once or max(1, min(64, PHASES_TOGETHER // size))
        parts = -(-rows * draws // together)
        # Padded with the last draw of the last example.
        units = jnp.minimum(jnp.arange(parts * together), rows * draws - 1)

        def some(unit: Array):
            own = jax.tree.map(lambda x: x[unit // draws], batch)
            return answers(variables, own, unit % draws)

        found = jax.lax.map(some, units.reshape(parts, together))

        def whole(x: Array) -> Array:
            """`[parts, R, together, ...]` → `[K, R, rows, ...]`."""
            x = jnp.moveaxis(x, 2, 1).reshape(parts * together, *x.shape[1:2], *x.shape[3:])
            x = x[: rows * draws].reshape(rows, draws, *x.shape[1:])
            return jnp.moveaxis(x, (0, 1), (2, 0))

        predicted, final, total = (whole(x) for x in found)

        def judge(board: Array) -> dict[str, Array]:
            return task.verdicts(board, batch)

        def majority(first: int, number: int) -> Array:
            block = predicted[first : first + number]
            tally = jnp.stack([(block == c).sum(0) for c in range(model.classes)])
            return tally.argmax(0)  # the lower class wins a tie

        decided = jnp.stack([majority(*group) for group in groups(draws)])
        over_all = jax.vmap(jax.vmap(judge))

        def moved(x: Array) -> Array:
            """`[K, R, rows]` → `[R, rows, K]`."""
            return jnp.moveaxis(x, 0, -1)

        return Votes(
            moved(final),
            moved(total),
            jax.tree.map(moved, over_all(predicted)),
            jax.tree.map(moved, over_all(decided)),
        )

    return make_evaluation_step(
        vote, task, experiment.variables_specs, experiment.mesh, out_specs=P(None, ROWS)
    )


class Voting:
    """Votes with every set of weights; writes `voting.json` and `voting_*.png`.

    Args:
      experiment: of the weights.
      draws: K, to choose from.
      at_once: draws that a device processes together; 0: chosen by their size.
    """

    def __init__(self, experiment: Experiment, draws: int, at_once: int = 0):
        self._experiment = experiment
        self.step = make_vote_step(experiment, draws, at_once)

    def collect(self, variables: Variables, source: Source) -> Votes:
        """The votes of all examples of a source, in order."""
        config, mesh = self._experiment.config, self._experiment.mesh
        parts = [
            jax.device_get(self.step(variables, put_batch(batch, mesh)))
            for batch in self._experiment.evaluation_batches(source)
        ]
        examples = evaluated_examples(source, config.eval)
        return jax.tree.map(lambda *x: np.concatenate(x, axis=1)[:, :examples], *parts)

    def report(
        self,
        sets: Mapping[str, Variables],
        source: Source,
        workdir: epath.Path,
        about: dict[str, Any],
    ) -> dict[str, Any]:
        marks = read_at(max(steps_per_layer(self._experiment)))
        results: dict[str, Any] = {}
        for name, variables in sets.items():
            votes = self.collect(variables, source)
            results[name] = {m: summarise(votes, marks, m) for m in votes.right}
            for metric, result in results[name].items():
                k, t = result["draws"], result["steps"]
                head = f"{metric}, {name} weights: {k} draws, {t} steps"
                print(f"\n{head}\n{table(result)}", flush=True)
        if jax.process_index() == 0:
            write_json(workdir / "voting.json", about | results)
            for name, by_metric in results.items():
                title = f"Energy voting, {self._experiment.config.task.name}, {name} weights"
                plot(workdir / f"voting_{name}.png", by_metric["accuracy"], title)
        return {}


# --- Summaries ------------------------------------------------------------------------------------


def summarise(votes: Votes, steps: tuple[int, ...], metric: str = "accuracy") -> dict[str, Any]:
    """How often each rule is right, as JSON values.

    `by_draws` has a row for each number of draws, after all steps: the mean over disjoint blocks of
    that many draws. `by_steps` has a row for each number of steps, with all draws. `gain` is the
    advantage of the lowest final energy over a single draw, with its standard error over examples.
    For `correlation` see the function of that name.

    Args:
      votes: of all examples.
      steps: the numbers of steps after which answers were read.
      metric: by which answers are right.
    """
    right, majority = votes.right[metric], votes.majority[metric]
    blocks = groups(right.shape[-1])
    last = -1

    def rates(reading: int, number: int) -> dict[str, float]:
        rows = [g for g, block in enumerate(blocks) if block[1] == number]
        found: dict[str, list[float]] = {rule: [] for rule in RULES}
        for g in rows:
            first = blocks[g][0]
            part = slice(first, first + number)
            some = right[reading][:, part]
            for rule, energy in zip(RULES[:2], (votes.final, votes.total), strict=True):
                found[rule].append(float(chosen(some, energy[reading][:, part]).mean()))
            found[RULES[2]].append(float(majority[reading][:, g].mean()))
            found[RULES[3]].append(float(some.any(-1).mean()))
        return {rule: float(np.mean(values)) for rule, values in found.items()}

    draws = right.shape[-1]
    single = right[last].mean(0)
    ahead = chosen(right[last], votes.final[last]) - right[last].mean(-1)
    return {
        "examples": right.shape[1],
        "draws": draws,
        "steps": steps[-1],
        "single draw": float(single.mean()),
        "single draw, spread": float(single.std(ddof=1)),
        **rates(last, draws),
        "gain": float(ahead.mean()),
        "gain, standard error": _standard_error(ahead),
        "correlation": {
            name: correlation(right[last], energy[last])
            for name, energy in (("final energy", votes.final), ("energy sum", votes.total))
        },
        "by_draws": [
            {"draws": n, **rates(last, n)} for n in sorted({number for _, number in blocks})
        ],
        "by_steps": [
            {"steps": n, "single draw": float(right[i].mean()), **rates(i, draws)}
            for i, n in enumerate(steps)
        ],
    }


def chosen(right: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Whether the draw with the lowest energy is right: `[N, K]`, `[N, K]` → `[N]` of 0 and 1."""
    return np.take_along_axis(right, energy.argmin(-1)[:, None], -1)[:, 0].astype(float)


def correlation(right: np.ndarray, energy: np.ndarray) -> dict[str, Any]:
    """Rank correlation between being right and energy, both `[N, K]`; None where undefined.

    `pooled`: Spearman's ρ over all draws of all examples. `within`: mean of ρ over the `mixed`
    examples, which have both right and wrong draws. `right_is_lower`: how often a right draw has a
    lower energy than a wrong draw of the same example (chance: 0.5).
    """
    mixed = right.any(-1) & ~right.all(-1)
    pooled = None
    if right.any() and not right.all() and np.ptp(energy) > 0:
        pooled = float(stats.spearmanr(energy.ravel(), right.ravel()).statistic)
    rows = [(e, r) for e, r in zip(energy[mixed], right[mixed], strict=True) if np.ptp(e) > 0]
    ranks = [float(stats.spearmanr(e, r).statistic) for e, r in rows]
    lower = [
        np.mean((e[r][:, None] < e[~r]) + 0.5 * (e[r][:, None] == e[~r]))
        for e, r in zip(energy[mixed], right[mixed], strict=True)
    ]
    return {
        "pooled": pooled,
        "within": float(np.mean(ranks)) if ranks else None,
        "right_is_lower": float(np.mean(lower)) if lower else None,
        "mixed": int(mixed.sum()),
    }


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def table(result: dict[str, Any]) -> str:
    """A summary as text."""

    def percent(value: float) -> str:
        return f"{100 * value:6.2f} %"

    spread = 100 * result["single draw, spread"]
    lines = [
        f"{'single draw':24}{percent(result['single draw'])}  ± {spread:.2f} over draws",
        *(f"{rule:24}{percent(result[rule])}" for rule in RULES),
        f"{'gain by final energy':24}{100 * result['gain']:+6.2f} points"
        + (f" ± {100 * error:.2f}" if (error := result["gain, standard error"]) else ""),
    ]
    for name, found in result["correlation"].items():
        if found["mixed"]:
            lines.append(
                f"{name:24}of a right draw is below that of a wrong one of the same example in "
                f"{100 * found['right_is_lower']:.1f} % ({found['mixed']} examples with both)"
            )
            if found["within"] is not None:
                lines.append(
                    f"{'':24}rank correlation with being right: {found['within']:+.3f} within "
                    f"examples, {found['pooled']:+.3f} over all"
                )
    head = "".join(f"{rule.split(' (')[0]:>23}" for rule in RULES)
    lines += ["", f"{'draws':>6}{'':>9}{head}"]
    for row in result["by_draws"]:
        lines.append(f"{row['draws']:6}{'':>9}" + "".join(f"{percent(row[r]):>23}" for r in RULES))
    lines += ["", f"{'steps':>6}{'single':>9}{head}"]
    for row in result["by_steps"]:
        single = percent(row["single draw"])
        lines.append(
            f"{row['steps']:6}{single:>9}" + "".join(f"{percent(row[r]):>23}" for r in RULES)
        )
    return "\n".join(lines)


def plot(path: epath.Path, result: dict[str, Any], title: str) -> None:
    """Draws accuracy over the number of draws and the number of steps as PNG."""
    colours = dict(zip(RULES, ("#1b998b", "#7bc8a4", "#3d7eff", "#999999"), strict=True))
    figure = new_figure(10.5, 4.4)
    left, right = figure.subplots(1, 2)
    for axes, rows, name in (
        (left, result["by_draws"], "draws"),
        (right, result["by_steps"], "steps"),
    ):
        x = [row[name] for row in rows]
        for rule, colour in colours.items():
            style = "--" if "oracle" in rule else "-"
            axes.plot(
                x,
                [100 * row[rule] for row in rows],
                style,
                marker="o",
                ms=3.5,
                color=colour,
                label=rule,
            )
        axes.set_ylabel("right answers, %")
        axes.grid(alpha=0.25)
    left.set_xscale("log", base=2)
    left.set_xticks([row["draws"] for row in result["by_draws"]])
    left.set_xticklabels([str(row["draws"]) for row in result["by_draws"]])
    left.minorticks_off()
    left.axhline(100 * result["single draw"], color="#d7263d", lw=1, label="single draw")
    left.set_xlabel(f"draws K to choose from (T = {result['steps']})")
    right.plot(x, [100 * row["single draw"] for row in rows], color="#d7263d", lw=1)
    right.set_xlabel(f"steps T of the dynamics (K = {result['draws']})")
    left.legend(frameon=False, fontsize=8.5)
    figure.suptitle(f"{title}, {result['examples']:,} examples", fontsize=11)
    save_figure(figure, path, dpi=120)
