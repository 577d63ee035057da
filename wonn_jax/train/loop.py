"""The training loop: what happens in which order. Nothing numerical is here.

A run starts from the newest intact checkpoint of its workdir; if there is none, from the best
one; if there is neither, from scratch. If all checkpoints are damaged, it does not start.

After update k has been dispatched to the devices, in this order: the next two batches are sent
there; the metrics of update k − 1 are read, so that the devices never wait for the host;
checkpoint k, if it is due; evaluation, if it is due. What a clock or a signal requests on one host
happens on all hosts after the same step (`wonn_jax.train.agenda`). Batches are a function of the
step: those fetched ahead leave no trace in a checkpoint. A run that resumes from checkpoint k makes
up for the evaluation of step k if that was due and is not in `metrics.jsonl`. So a run that is
killed anywhere resumes as if it had not been interrupted.
"""

import math
import platform
import signal
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

import wonn_jax
from wonn_jax.common import durations
from wonn_jax.common.checks import length
from wonn_jax.common.files import write_json
from wonn_jax.common.rng import stream_key
from wonn_jax.config import to_dict
from wonn_jax.parallel import hosts
from wonn_jax.parallel.mesh import first_rows
from wonn_jax.train.agenda import Agenda
from wonn_jax.train.batches import Ahead
from wonn_jax.train.best import Best
from wonn_jax.train.card import Config
from wonn_jax.train.checkpoint import (
    Checkpoints,
    Restored,
    check_same_experiment,
    check_workdir,
)
from wonn_jax.train.evaluation import (
    WEIGHTS,
    Evaluation,
    TrainingEvaluator,
    join_weights,
    metrics_table,
    split_weights,
)
from wonn_jax.train.experiment import Data, Experiment
from wonn_jax.train.lines import read_lines
from wonn_jax.train.lock import locked
from wonn_jax.train.metrics import MetricWriter, Progress, scaled
from wonn_jax.train.profile import Trace
from wonn_jax.train.state import TrainState
from wonn_jax.train.summary import data_line, device_line, parameter_table


class Interrupted(Exception):
    """The run was asked to stop, and has saved itself."""

    def __init__(self, number: int, step: int):
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}")
        self.number = number


def train(config: Config, workdir: epath.PathLike) -> dict[str, float]:
    """Trains, or goes on training, in `workdir`; returns the metrics of the last evaluation.

    Raises:
      ValueError: a workdir of another experiment, data that changed, all checkpoints damaged.
      FloatingPointError: the loss or the gradient is no longer finite.
      OSError: the workdir is in use or not writable; no room for a checkpoint.
      Interrupted: SIGTERM or SIGINT came to one of the hosts, and the state was saved.
      RuntimeError, ValueError: from JAX, another host was lost (see `hosts.lost`).
    """
    with locked(workdir):
        return _train(config, epath.Path(workdir))


def _train(config: Config, workdir: epath.Path) -> dict[str, float]:
    check_workdir(workdir, to_dict(config))
    if (examples := config.data.training_examples()) is not None:
        Experiment(config, examples).check()  # before half a minute of generating
    data = Data(*(config.data.load(split, config.augment) for split in ("train", "test")))
    hosts.compare(
        "the data",
        {"training": data.train.fingerprint, "test": data.test.fingerprint},
        "Every host needs the same examples in the same order: copy --config.data.path to all.",
    )
    experiment = Experiment(config, len(data.train)).check()
    return run(experiment, data, workdir)


def run(experiment: Experiment, data: Data, workdir: epath.Path) -> dict[str, float]:
    """Trains an experiment on its data; see `train`."""
    main = jax.process_index() == 0
    kept = experiment.config.checkpoint
    record = to_dict(experiment.config)
    with (
        Checkpoints(workdir / "checkpoints", kept.keep) as checkpoints,
        Checkpoints(workdir / "best", 1) as best,
    ):
        state, restored = _start(experiment, data, record, checkpoints, best)
        start = restored.step if restored else 0
        if main:  # only now: a run that is refused changes nothing
            write_json(workdir / "config.json", record)
            _introduce(experiment, data, state, start, restored, workdir)
            _show_batch(experiment, data, start, workdir)
        loop = _Loop(experiment, data, workdir, record, checkpoints, best, start)
        try:
            results = loop.run(state)
        finally:
            loop.close()
    if main:
        _conclude(results, workdir, loop.speed)
    return results


def _start(
    experiment: Experiment,
    data: Data,
    record: dict[str, Any],
    checkpoints: Checkpoints,
    best: Checkpoints,
) -> tuple[TrainState, Restored | None]:
    everywhere = experiment.state_shardings
    like = experiment.abstract_state()
    # The best state is as good a beginning as any, should a run have no other yet.
    restored = checkpoints.restore(like, everywhere) or best.restore(like, everywhere)
    origin = f"{restored.directory.parent.name}/{restored.step}" if restored else "none"
    hosts.compare(
        "the checkpoint to go on from",
        {"checkpoint": origin},
        "The workdir looks different from some hosts; check its file system, then start again.",
    )
    if restored is None:
        state = experiment.initial_state()
        checkpoints.check_room(state)
        return state, None
    found, required = restored.data, data.fingerprint
    if found != required:
        raise ValueError(
            f"{restored.directory} was trained on data with fingerprint {found}, the data now has "
            f"{required}: examples were changed, added or put in another order. Restore the data, "
            "or use another --workdir."
        )
    check_same_experiment(restored.directory, restored.config, record)
    checkpoints.set_aside_damaged()
    best.set_aside_damaged()
    best.forget_after(restored.step)
    return restored.state, restored


def _best(
    experiment: Experiment, data: Data, best: Checkpoints, workdir: epath.Path
) -> Best | None:
    """What keeps the best state, if that is asked for."""
    if not experiment.config.checkpoint.best:
        return None
    metrics = workdir / "metrics.jsonl"
    chosen = Best(experiment.config, experiment.task, data.fingerprint, best, metrics)
    if chosen.note and jax.process_index() == 0:
        print(f"note     {chosen.note}", flush=True)
    return chosen


def _introduce(
    experiment: Experiment,
    data: Data,
    state: TrainState,
    start: int,
    restored: Restored | None,
    workdir: epath.Path,
) -> None:
    """Prints and writes down what the run is made of."""
    task, settings = experiment.task, experiment.config.data
    print(parameter_table(state.params))
    print(f"device   {device_line(experiment.mesh)}")
    print(f"train    {data_line(data.train, task, settings.origin_of(data.train))}")
    print(f"test     {data_line(data.test, task, settings.origin_of(data.test))}")
    print(
        f"length   {experiment.total:,} steps of {experiment.config.train.batch_size} "
        f"{task.noun}, {experiment.epoch:,} an epoch"
    )
    print(f"workdir  {workdir}")
    begin = f"resumed from {restored.directory}" if restored else "fresh, no checkpoint yet"
    print(f"start    step {start:,}, {begin}", flush=True)
    environment = {
        "wonn_jax": wonn_jax.__version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": device_line(experiment.mesh),
        "train_data": data.train.fingerprint,
        "test_data": data.test.fingerprint,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
    }
    write_json(workdir / "run.json", environment)


def _show_batch(experiment: Experiment, data: Data, start: int, workdir: epath.Path) -> None:
    """Draws the first batch of a run as the network gets it, where augmentation changes it."""
    task = experiment.task
    if start or not task.draws_inputs:
        return
    batch = next(experiment.batches(data.train, start, start + 1, workers=0))
    key = stream_key(experiment.config.seed, "augmentation", start)
    prepared = jax.device_get(jax.jit(task.prepare)(batch, key))
    path = workdir / "augmented.png"
    title = f"training images of step {start:,}, augmented"
    task.save_inputs(path, prepared, title, getattr(data.train, "class_names", ()))
    print(f"picture  {path}: the first batch, augmented", flush=True)


def _conclude(results: dict[str, float], workdir: epath.Path, speed: str) -> None:
    """Prints the last evaluation, raw beside EMA, the speed, and where everything lies."""
    if results:
        print(metrics_table(split_weights(results)))
    if speed:
        print(f"speed    {speed}")
    print(
        f"done: metrics.jsonl, predictions/, checkpoints/ and TensorBoard scalars are in {workdir}"
    )


class _Loop:
    """What the loop keeps besides the training state: files, clocks, signals."""

    def __init__(
        self,
        experiment: Experiment,
        data: Data,
        workdir: epath.Path,
        record: dict[str, Any],
        checkpoints: Checkpoints,
        best: Checkpoints,
        start: int,
    ):
        config = experiment.config
        main = jax.process_index() == 0
        self.experiment = experiment
        self.config = config
        self.data = data
        self.workdir = workdir
        self.record = record
        self.checkpoints = checkpoints
        self.start = start
        self.total = experiment.total
        self.log_every = max(1, length("log.every", config.log.every).steps(experiment.epoch))
        self.eval_every = length("eval.every", config.eval.every).steps(experiment.epoch)
        self.save_every = length("checkpoint.every", config.checkpoint.every)
        self.evaluators: list[TrainingEvaluator] = [
            e.build(experiment) for e in config.eval.evaluators if e.in_training
        ]
        self.writer = MetricWriter(workdir, start, tensorboard=config.log.tensorboard, active=main)
        self.best = _best(experiment, data, best, workdir)  # reads what the writer has cleaned
        self.progress = Progress(start, self.total, seconds=config.log.seconds, active=main)
        self.trace = Trace(config.profile, workdir / "profile", active=main)
        self.pending: tuple[int, dict[str, jax.Array]] | None = None
        self.speed = ""  # of this run, for a person
        self.saved_at = time.monotonic()
        self.paused = 0.0  # seconds of evaluation and the like since the clock started
        self.clock = time.monotonic()
        self.agenda = Agenda()

    def close(self) -> None:
        self.agenda.close()
        self.trace.close()
        self.progress.close()
        self.writer.close()

    def run(self, state: TrainState) -> dict[str, float]:
        experiment = self.experiment
        results: dict[str, float] = {}
        if self.start < self.total:
            batches = Ahead(
                experiment.batches(self.data.train, self.start, self.total), experiment.mesh
            )
            self._compile(state)
        if self.start and self._evaluation_is_due(self.start) and not self._evaluated(self.start):
            results = self._evaluate(self.start, state)
        for step in range(self.start + 1, self.total + 1):
            self.trace.before(step, state)
            # Only explicit transfers to and from the devices are allowed here.
            with (
                jax.transfer_guard("disallow"),
                jax.profiler.StepTraceAnnotation("train", step_num=step),
            ):
                state, metrics = experiment.train_step(state, batches.take())
                batches.fill()
                self._read_pending()
            self.pending = (step, metrics)
            if place := self.trace.after(step, (state, metrics)):
                self.progress.say(place)
            stop = self.agenda.stop_due() if step < self.total else 0
            if stop or self._save_is_due(step) or step == self.total:
                self._save(step, state)
            if stop:
                self.checkpoints.wait()
                raise Interrupted(stop, step)
            if self._evaluation_is_due(step):
                self._read_pending()
                results = self._evaluate(step, state)
        self.checkpoints.wait()  # while signals cannot end the process yet
        return results or self._last_results()

    def _compile(self, state: TrainState) -> None:
        """Compiles the training step, and starts the clock."""
        experiment = self.experiment
        _ = experiment.training_flops  # counted now, that later nothing waits for it
        batch = experiment.task.abstract_batch(self.config.train.batch_size)
        experiment.train_step.compile(state, batch)
        seconds = experiment.train_step.seconds
        if jax.process_index() == 0:
            print(f"compiled training step in {seconds:.1f} s", flush=True)
        self.writer.time(self.start, "train", {"compile_seconds": seconds})
        self.clock = time.monotonic()

    def _read_pending(self) -> None:
        """Reads, checks and writes the metrics of the last update, unless that was done before."""
        if self.pending is None:
            return
        step, device_metrics = self.pending
        self.pending = None
        values = {name: float(x) for name, x in jax.device_get(device_metrics).items()}
        line = self.experiment.method.training_metrics(values)
        loss = line["loss"]
        gradient, parameters = values["gradient_norm"], values["parameter_norm"]
        if not (math.isfinite(loss) and math.isfinite(gradient) and math.isfinite(parameters)):
            steps = self.checkpoints.steps()
            last = f"step {steps[-1]} in {self.checkpoints.directory}" if steps else "none"
            raise FloatingPointError(
                f"At step {step} the loss is {loss:g}, the norm of the gradient {gradient:g} and "
                f"that of the parameters {parameters:g}. The last checkpoint ({last}) is intact. "
                "Try a smaller --config.optimizer.learning_rate (now "
                f"{self.config.optimizer.learning_rate:g}) or --config.optimizer.clip_norm=1, "
                "with another --workdir."
            )
        if durations.due(step, self.log_every) or step == self.total:
            line |= {
                "gradient_norm": gradient,
                "parameter_norm": parameters,
                "learning_rate": values["learning_rate"],
            }
            self.writer.write(step, "train", line)
            self.writer.time(step, "train", self._rates(step))
        self._show(step, loss)

    def _rates(self, step: int) -> dict[str, float]:
        """Speed of this run without compilation, evaluation, saving and tracing.

        `utilisation` is the model's operations per second (see `train.flops`) over the devices'
        peak rate, where that is known.
        """
        seconds = time.monotonic() - self.clock - self.paused - self.trace.seconds
        steps = (step - self.start) / seconds if seconds > 0 else 0.0
        examples = steps * self.config.train.batch_size
        rates = {
            "steps_per_second": steps,
            "examples_per_second": examples,
            "flops_per_second": examples * self.experiment.training_flops,
        }
        if peak := self.experiment.peak_flops:
            rates["utilisation"] = rates["flops_per_second"] / peak
        return rates

    def _show(self, step: int, loss: float) -> None:
        rates = self._rates(step)
        speed = f"{rates['examples_per_second']:,.0f} examples/s"
        self.speed = f"{speed}, {scaled(rates['flops_per_second'], 'flop/s')}"
        if peak := self.experiment.peak_flops:
            share = f"{100 * rates['utilisation']:.1f} %"
            speed += f", {share} of peak"
            self.speed += f", {share} of {scaled(peak, 'flop/s')}"
        self.progress.update(step, f"loss {loss:.4f}", speed, rates["steps_per_second"])

    def _evaluate(self, step: int, state: TrainState) -> dict[str, float]:
        timing: dict[str, float] = {}
        began = stopped = time.monotonic()
        seconds = sum(e.compile(state.variables("raw")) for e in self.evaluators)
        if seconds:
            timing["compile_seconds"] = seconds
            self.progress.say(f"compiled evaluation step in {seconds:.1f} s")
            began = time.monotonic()
        results: dict[str, float] = {}
        first: dict[str, Evaluation] = {}
        for evaluator in self.evaluators:
            found = {
                name: evaluator.evaluate(state.variables(name), self.data.test) for name in WEIGHTS
            }
            results |= join_weights({name: x.metrics for name, x in found.items()})
            first = first or found
        seconds = time.monotonic() - began
        if self.best:
            self.best.offer(step, results, state)
        if self.config.eval.pictures:
            self._draw(step, first)
        self.writer.time(step, "test", timing | {"seconds": seconds})
        self.writer.write(step, "test", results)  # after all that resuming would have to repeat
        right = [
            f"{w} {100 * results[x]:.1f} %" for w in WEIGHTS if (x := f"{w}_accuracy") in results
        ]
        noun = self.experiment.task.noun
        self.progress.say(f"step {step}: {noun} right {', '.join(right)} ({seconds:.1f} s)")
        self.paused += time.monotonic() - stopped
        return results

    def _evaluation_is_due(self, step: int) -> bool:
        return durations.due(step, self.eval_every) or step == self.total

    def _evaluated(self, step: int) -> bool:
        """Whether the results of an evaluation after `step` updates have been written."""

        def written() -> bool:
            lines = read_lines(self.workdir / "metrics.jsonl")
            return any(line["kind"] == "test" and line["step"] == step for line in lines)

        return hosts.broadcast(written)  # that has the file

    def _draw(self, step: int, evaluations: Mapping[str, Evaluation]) -> None:
        """A picture of the first examples of the test split and what is predicted for them."""
        if jax.process_index() != 0:
            return
        batch = evaluations["raw"].batch
        # Of the predictions this process has some rows on each of its devices.
        first = {w: np.asarray(first_rows(x.predictions)) for w, x in evaluations.items()}
        n = min(self.config.eval.pictures, int((batch["id"] >= 0).sum()), len(first["raw"]))
        task = self.experiment.task
        task.save_predictions(
            self.workdir / "predictions" / f"step_{step:08d}.png",
            {name: x[:n] for name, x in batch.items()},
            {w: x[:n] for w, x in first.items()},
            f"{self.config.data.name}, test {task.noun} after {step:,} steps",
            getattr(self.data.test, "class_names", ()),
        )

    def _save_is_due(self, step: int) -> bool:
        every = self.save_every
        if every.unit == "minutes":
            return self.agenda.save_due(time.monotonic() - self.saved_at >= 60 * every.amount)
        return durations.due(step, every.steps(self.experiment.epoch))

    def _save(self, step: int, state: TrainState) -> None:
        # Only a state that is known to be finite is worth keeping, and whoever resumes from it
        # must find its lines written.
        self._read_pending()
        began = time.monotonic()
        self.writer.flush()
        self.checkpoints.save(step, state, self.record, self.data.fingerprint)
        self.saved_at = time.monotonic()
        self.paused += self.saved_at - began

    def _last_results(self) -> dict[str, float]:
        """The last evaluation of a run that had already ended."""
        tests = [x for x in read_lines(self.workdir / "metrics.jsonl") if x["kind"] == "test"]
        if not tests:
            return {}
        return {name: x for name, x in tests[-1].items() if name not in ("step", "kind")}
