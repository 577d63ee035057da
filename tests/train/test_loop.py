"""The loop from the outside: what it writes, what it refuses, what it leaves intact."""

import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cards import card, changed
from runs import tiny

from wonn_jax.evaluators.run import run_eval
from wonn_jax.interop.winfree import to_pytorch
from wonn_jax.parallel import mesh
from wonn_jax.tools.describe import run_describe
from wonn_jax.train import batches, experiment, lock
from wonn_jax.train import checkpoint as checkpoints
from wonn_jax.train.card import Config, freeze
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.lines import read_lines
from wonn_jax.train.loop import train
from wonn_jax.train.optim import OptimizerConfig

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_what_a_run_leaves(finished):
    for name in ("config.json", "run.json", "metrics.jsonl", "timing.jsonl", "tensorboard"):
        assert (finished / name).exists(), name
    assert json.loads((finished / "config.json").read_text())["model"]["width"] == 8
    lines = read_lines(finished / "metrics.jsonl")
    assert [x["step"] for x in lines if x["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [x["step"] for x in lines if x["kind"] == "test"] == [3, 6]
    assert {"loss", "accuracy", "gradient_norm", "learning_rate"} <= lines[0].keys()
    assert {"raw_accuracy", "ema_accuracy", "ema_valid_path", "ema_path_f1"} <= lines[-1].keys()
    pictures = sorted((finished / "predictions").iterdir())
    assert [p.name for p in pictures] == ["step_00000003.png", "step_00000006.png"]
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
    kept = {int(p.name) for p in (finished / "checkpoints").iterdir()}
    assert kept == {2, 4, 6}


def test_loss_falls(mazes, tmp_path):
    config = tiny(
        mazes,
        train__length="60 steps",
        optimizer__learning_rate=1e-2,
        eval__every="never",
        eval__pictures=0,
        checkpoint__every="0 minutes",
    )
    train(config, tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["60"]  # never, but at the end
    losses = [x["loss"] for x in read_lines(tmp_path / "metrics.jsonl") if x["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_finished_run_is_left_as_it_is(mazes, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    results = train(tiny(mazes), tmp_path / "run")
    assert "step 6, resumed from" in capsys.readouterr().out
    assert results["ema_loss"] == read_lines(finished / "metrics.jsonl")[-1]["ema_loss"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()


def test_sudoku_runs_through_the_same_loop(tmp_path):
    config = changed(
        card("sudoku"),
        data__dir=str(tmp_path / "data"),
        data__train_examples=40,
        data__test_examples=10,
        model__width=8,
        model__heads=2,
        model__layers=2,
        model__steps=(2,),
        model__precision="float32",
        optimizer__name="adamw",
        optimizer__clip_norm=1.0,
        optimizer__schedule="cosine",
        optimizer__warmup="1 epochs",
        train__batch_size=16,
        train__length="2 epochs",
        train__accumulate=2,
        eval__batch_size=4,
        eval__pictures=2,
    )
    results = train(freeze(config), tmp_path / "run")
    assert {"raw_accuracy_given", "ema_accuracy_blank"} <= results.keys()
    assert len(list((tmp_path / "run" / "predictions").glob("*.png"))) == 1


def test_evaluation_does_not_depend_on_the_batch_size(mazes, finished):
    results = [run_eval(tiny(mazes, eval__batch_size=n), finished) for n in (4, 7, 16)]
    last = read_lines(finished / "metrics.jsonl")[-1]
    for found in results:
        for weights in ("raw", "ema"):
            for name, value in found[weights].items():
                if value == value:  # the precision of no path is NaN
                    slack = 1e-4 if name == "energy" else 1e-12  # a sum in which much cancels
                    expected = pytest.approx(value, rel=1e-5, abs=slack)
                    assert last[f"{weights}_{name}"] == expected, name
    written = json.loads((finished / "eval.json").read_text())
    assert written["raw"].keys() == results[0]["raw"].keys()


def test_best_and_numbered_checkpoints_and_imported_weights(mazes, finished, tmp_path):
    lines = [x for x in read_lines(finished / "metrics.jsonl") if x["kind"] == "test"]
    best = max(lines, key=lambda x: x["ema_accuracy"])  # the first of equals
    assert [int(p.name) for p in (finished / "best").iterdir()] == [best["step"]]
    found = run_eval(tiny(mazes, eval__checkpoint="best"), finished)
    assert found["ema"]["loss"] == pytest.approx(best["ema_loss"], rel=1e-5)
    fourth = run_eval(tiny(mazes, eval__checkpoint="4"), finished)
    assert fourth["raw"]["loss"] != pytest.approx(lines[-1]["raw_loss"], rel=1e-5)
    with pytest.raises(ValueError, match=r"no checkpoint of step 5; it has 2, 4, 6"):
        run_eval(tiny(mazes, eval__checkpoint="5"), finished)

    like = experiment.Experiment(tiny(mazes), 40).abstract_state()
    with checkpoints.Checkpoints(finished / "checkpoints", 3, writable=False) as saved:
        variables = saved.restore(like).state.variables("raw")
    np.savez(tmp_path / "weights.npz", **to_pytorch(variables, "maze"))
    imported = run_eval(tiny(mazes), tmp_path, str(tmp_path / "weights.npz"))["imported"]
    assert imported["loss"] == pytest.approx(lines[-1]["raw_loss"], rel=1e-5)
    message = r"\(16,\) there, \(32,\) here; 1 layers.*--config\.model\.width"
    with pytest.raises(ValueError, match=message):
        run_eval(tiny(mazes, model__width=16), tmp_path, str(tmp_path / "weights.npz"))


def test_the_best_by_a_loss_is_the_lowest(mazes, tmp_path):
    config = tiny(
        mazes,
        checkpoint__best="raw_loss",
        eval__every="1 steps",
        eval__pictures=0,
        optimizer__learning_rate=0.1,
    )
    train(config, tmp_path)
    lines = [x for x in read_lines(tmp_path / "metrics.jsonl") if x["kind"] == "test"]
    losses = {x["step"]: x["raw_loss"] for x in lines}
    lowest = min(losses, key=losses.__getitem__)
    assert len(set(losses.values())) == 6 and max(losses, key=losses.__getitem__) != lowest
    assert [int(p.name) for p in (tmp_path / "best").iterdir()] == [lowest]
    found = run_eval(dataclasses.replace(config, eval=_best(config)), tmp_path)
    assert found["raw"]["loss"] == pytest.approx(losses[lowest], rel=1e-5)


def _best(config: Config) -> EvalConfig:
    return dataclasses.replace(config.eval, checkpoint="best")


def test_describe(mazes, capsys):
    run_describe(tiny(mazes))
    text = capsys.readouterr().out
    for words in (
        "layer_0.coupling.qkv.kernel",
        "parameters",
        "40 training boards",
        "temporaries",
        "the body of a loop once",
        "training, one step of 16 examples, on each of 4 devices:",
        "48 forward passes ×",
        "evaluation, one step of 16 examples, on each of 4 devices:",
    ):
        assert words in text
    assert text.count("forward passes ×") == 2


# --- No device waits -------------------------------------------------------------------------


def test_timings(mazes, finished, tmp_path, capsys):
    """Compilation apart from the speed; the utilisation where a peak is known."""
    lines = read_lines(finished / "timing.jsonl")
    assert lines[0].keys() == {"step", "kind", "compile_seconds"} and lines[0]["step"] == 0
    assert lines[0]["compile_seconds"] > 0
    training = [x for x in lines if x["kind"] == "train"][1:]
    assert [x["step"] for x in training] == [1, 2, 3, 4, 5, 6]
    assert all(x["examples_per_second"] > 0 and "utilisation" not in x for x in training)
    tests = [x for x in lines if x["kind"] == "test"]
    assert [("compile_seconds" in x, x["seconds"] > 0) for x in tests] == [
        (True, True),
        (False, True),
    ]
    shutil.copytree(finished, tmp_path / "run")
    config = tiny(
        mazes,
        train__length="8 steps",
        log__peak_flops=1e9,
        profile__start=2,  # long past
        profile__steps=2,
    )
    train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "profile").exists()
    text = capsys.readouterr().out
    assert "compiled training step in" in text and " % of 4 Gflop/s" in text
    last = [x for x in read_lines(tmp_path / "run" / "timing.jsonl") if "utilisation" in x][-1]
    assert last["step"] == 8
    assert last["utilisation"] == pytest.approx(last["flops_per_second"] / 4e9)
    assert last["examples_per_second"] == pytest.approx(16 * last["steps_per_second"])


def test_the_next_batches_are_there_before_a_step(mazes, tmp_path, monkeypatch):
    """Two of them, in their order, and no more; what is not there by intent is refused."""
    events: list[tuple[str, list[int]]] = []
    put, call = mesh.put_batch, experiment.CompiledStep.__call__

    def put_batch(batch, devices):
        events.append(("put", batch["id"].tolist()))
        fifth = len([kind for kind, _ in events if kind == "put"]) == 5
        return batch if fifth else put(batch, devices)  # left on the host

    def step(self, state, batch):
        events.append(("step", batch["id"].tolist()))
        return call(self, state, batch)

    monkeypatch.setattr(batches, "put_batch", put_batch)
    monkeypatch.setattr(experiment.CompiledStep, "__call__", step)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train(tiny(mazes, eval__every="never"), tmp_path)
    puts = [ids for kind, ids in events if kind == "put"]
    assert [ids for kind, ids in events if kind == "step"] == puts[:5] and len(puts) == 6
    kinds = [kind for kind, _ in events]
    places = [i for i, kind in enumerate(kinds) if kind == "step"]
    assert [kinds[:i].count("put") for i in places] == [batches.AHEAD, 3, 4, 5, 6]


def test_each_step_is_compiled_once(mazes, tmp_path):
    """With several evaluations, partial last batches of both splits, and a resume."""
    compiled: list[str] = []

    def listener(event: str, _: float, fun_name: str = "", **__) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(fun_name)

    create, update, evaluate = "jit(_initial_state)", "jit(train_step)", "jit(<lambda>)"
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        for length, expected in (
            ("4 steps", [create, update, evaluate]),
            ("8 steps", [update, evaluate]),
        ):
            compiled.clear()
            evaluation = {"eval__every": "2 steps", "eval__batch_size": 12, "eval__pictures": 0}
            config = tiny(mazes, train__length=length, **evaluation)
            train(config, tmp_path)
            # Orbax slices what several devices hold, to have each of them write a part.
            assert [name for name in compiled if name != "jit(slice)"] == expected
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


def test_a_batch_of_another_shape_is_an_error(mazes, tmp_path, monkeypatch):
    """No silent compilation; and a trace that was cut short is closed."""
    whole = experiment.training_batches

    def short_fifth(*args, **settings):
        for number, batch in enumerate(whole(*args, **settings)):
            yield batch if number != 4 else {name: x[:8] for name, x in batch.items()}

    monkeypatch.setattr(experiment, "training_batches", short_fifth)
    with pytest.raises(TypeError, match=r"int32\[16.*int32\[8"):
        train(
            tiny(mazes, eval__every="never", profile__start=3, profile__steps=3), tmp_path / "run"
        )
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))
    jax.profiler.start_trace(str(tmp_path / "another"))  # there is one at a time
    jax.profiler.stop_trace()


def test_trace_of_some_steps(mazes, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    config = tiny(
        mazes,
        eval__every="never",
        train__length="10 steps",
        profile__start=7,
        profile__steps=2,
    )
    train(config, tmp_path / "run")
    folder = tmp_path / "run" / "profile"
    assert f"traced steps 8 to 9 into {folder}" in capsys.readouterr().err
    (trace,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert {x["args"]["step_num"] for x in events if x.get("name") == "train"} == {"8", "9"}
    assert any("while" in x.get("name", "") for x in events)  # the scan over time, on a device


def test_a_trace_beyond_the_run(mazes, tmp_path):
    with pytest.raises(ValueError, match="up to step 12, but the run has 6"):
        train(tiny(mazes, profile__start=10, profile__steps=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- What is refused -------------------------------------------------------------------------


def untouched(workdir: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(workdir)): p.read_bytes()
        for p in sorted(workdir.rglob("*"))
        if p.is_file()
    }


def test_workdir_of_another_experiment(mazes, finished):
    before = untouched(finished)
    with pytest.raises(
        ValueError,
        match=r"holds another experiment:\n  model\.steps: \[2\] there, \[3\] "
        r"now\nUse another --workdir",
    ):
        train(tiny(mazes, model__steps=(3,)), finished)
    assert untouched(finished) == before


def test_what_may_change_on_resume(mazes, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    config = tiny(
        mazes,
        train__length="8 steps",
        eval__every="never",
        log__tensorboard=False,
        checkpoint__keep=5,
        eval__pictures=0,
    )
    train(config, tmp_path / "run")
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 8


def test_checkpoint_of_another_model(mazes, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    before = untouched(tmp_path / "run")
    with pytest.raises(
        ValueError,
        match=r"is of another model:\n  ema\.batch_stats.*found float32\[16\]"
        r", required float32\[32\]",
    ):
        train(tiny(mazes, model__width=16), tmp_path / "run")
    assert untouched(tmp_path / "run") == before
    with pytest.raises(ValueError, match=r"holds another experiment:\n  seed: 0 there, 1 now"):
        train(tiny(mazes, seed=1), tmp_path / "run")  # the same shapes, but not the same run
    with pytest.raises(ValueError, match="is of another model"):
        run_eval(tiny(mazes, model__layers=2), finished)


def test_data_that_changed(mazes, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(mazes, tmp_path / "data")
    for kind in ("inputs", "labels"):
        path = tmp_path / "data" / "train" / f"all__{kind}.npy"
        np.save(path, np.load(path)[::-1])
    before = untouched(tmp_path / "run")
    with pytest.raises(ValueError, match="was trained on data with fingerprint .* put in another"):
        train(tiny(tmp_path / "data"), tmp_path / "run")
    assert untouched(tmp_path / "run") == before


def test_a_workdir_in_use(mazes, finished, tmp_path, monkeypatch):
    """Only by training; evaluation reads what is complete."""
    monkeypatch.setattr(lock, "BEAT_SECONDS", 1000)
    monkeypatch.setattr(lock, "DYING_SECONDS", 0.1)
    shutil.copytree(finished, tmp_path / "run")
    with lock.locked(tmp_path / "run"):
        before = untouched(tmp_path / "run")
        with pytest.raises(OSError, match=r"run is in use: process \d+ on .* is training there"):
            train(tiny(mazes, train__length="8 steps"), tmp_path / "run")
        assert untouched(tmp_path / "run") == before
        run_eval(tiny(mazes), tmp_path / "run")
    assert not (tmp_path / "run" / lock.NAME).exists()


def test_missing_data_leaves_no_workdir(tmp_path):
    with pytest.raises(FileNotFoundError, match="all__inputs"):
        train(tiny(tmp_path / "nothing"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_room_on_the_disk(mazes, finished, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"A checkpoint needs \d+ MiB and .* has 0 MiB left"):
        train(tiny(mazes), tmp_path / "fresh")
    shutil.copytree(finished, tmp_path / "run")
    before = untouched(tmp_path / "run" / "checkpoints")
    with pytest.raises(OSError, match=r"The checkpoints there \(2, 4, 6\) are intact"):
        train(tiny(mazes, train__length="8 steps"), tmp_path / "run")
    assert untouched(tmp_path / "run" / "checkpoints") == before


def test_loss_that_is_no_number(mazes, finished, tmp_path, monkeypatch):
    """Six good steps, then a learning rate that breaks the parameters at the seventh."""

    def breaks_at_seven(*_, **__):
        return lambda count: jnp.where(count < 6, 1e-3, 1e38)

    monkeypatch.setattr(OptimizerConfig, "make_schedule", breaks_at_seven)
    shutil.copytree(finished, tmp_path / "run")
    config = tiny(mazes, train__length="12 steps", checkpoint__every="1 steps")
    with pytest.raises(
        FloatingPointError,
        match=r"At step 7 the loss is .*step 6 in .* is intact.*learning_rate \(now 0\.001\)",
    ):
        train(config, tmp_path / "run")
    with checkpoints.Checkpoints(tmp_path / "run" / "checkpoints", 3) as saved:
        newest = saved.restore(experiment.Experiment(config).abstract_state())
    assert newest is not None and newest.step == 6


def test_a_run_without_checkpoints_begins_at_its_best(mazes, finished, tmp_path, capsys):
    """Killed after an evaluation and before the first regular checkpoint."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    train(tiny(mazes), tmp_path / "run")
    (best,) = [int(p.name) for p in (finished / "best").iterdir()]
    assert f"step {best}, resumed from" in capsys.readouterr().out
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()


def test_evaluation_with_other_settings_says_so(mazes, finished, capsys):
    run_eval(tiny(mazes, model__steps=(4,)), finished)
    assert "note     model.steps is [4], trained with [2]" in capsys.readouterr().out


def test_evaluation_reads_the_weights_alone(mazes, finished):
    """Whatever the optimizer and the batches, whose state and carry a checkpoint holds too."""
    config = tiny(
        mazes,
        optimizer__name="adamw",
        optimizer__clip_norm=3.0,
        train__batch_size=24,
        train__accumulate=3,
    )
    last = read_lines(finished / "metrics.jsonl")[-1]
    found = run_eval(config, finished)
    assert found["ema"]["loss"] == pytest.approx(last["ema_loss"], rel=1e-5)


def test_eval_without_a_checkpoint(mazes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*--weights=FILE"):
        run_eval(tiny(mazes), tmp_path / "nothing")
