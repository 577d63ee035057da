"""The loop from the outside: what it writes, what it refuses, what it leaves intact."""

import gzip
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import write_mazes

from wonn_jax import config as configuration
from wonn_jax.evaluators.accuracy import run_eval
from wonn_jax.interop.winfree import to_pytorch
from wonn_jax.tools.describe import run_describe
from wonn_jax.train import checkpoint as checkpoints
from wonn_jax.train.loop import AHEAD, train
from wonn_jax.train.metrics import read_lines


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_mazes(tmp_path_factory.mktemp("data"))


def tiny(data: Path | str, **changes) -> configuration.Config:
    config = configuration.default_config()
    config.data.path = str(data)
    config.data.height = config.data.width = 5
    config.model.width, config.model.heads, config.model.steps = 8, 2, (2,)
    config.train.batch_size, config.train.length = 16, "6 steps"
    config.ema.after, config.ema.every = 1, 1
    config.eval.every, config.eval.batch_size, config.eval.pictures = "3 steps", 16, 2
    config.checkpoint.every, config.log.every = "2 steps", "1 steps"
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        (config[group] if group else config)[field] = value
    return configuration.freeze(config)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished")
    train(tiny(data), workdir)
    return workdir


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


def test_loss_falls(data, tmp_path):
    config = tiny(
        data,
        train__length="60 steps",
        optimizer__learning_rate=1e-2,
        eval__every="never",
        eval__pictures=0,
        checkpoint__every="never",
    )
    train(config, tmp_path)
    losses = [x["loss"] for x in read_lines(tmp_path / "metrics.jsonl") if x["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_finished_run_is_left_as_it_is(data, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    results = train(tiny(data), tmp_path / "run")
    assert "step 6, resumed from" in capsys.readouterr().out
    assert results["ema_loss"] == read_lines(finished / "metrics.jsonl")[-1]["ema_loss"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()


def test_sudoku_runs_through_the_same_loop(tmp_path):
    config = configuration.default_config()
    config.task = "sudoku"
    config.data.height = config.data.width = 9
    config.data.dir = str(tmp_path / "data")
    config.data.train_examples, config.data.test_examples = 40, 10
    config.model.width, config.model.heads = 8, 2
    config.model.steps, config.model.layers = (2,), 2
    config.train.batch_size, config.train.length = 16, "2 epochs"
    config.optimizer.name, config.optimizer.clip_norm = "adamw", 1.0
    config.optimizer.schedule, config.optimizer.warmup = "cosine", "1 epochs"
    config.train.accumulate = 2
    config.eval.batch_size, config.eval.pictures = 4, 2
    results = train(configuration.freeze(config), tmp_path / "run")
    assert {"raw_accuracy_given", "ema_accuracy_blank"} <= results.keys()
    assert len(list((tmp_path / "run" / "predictions").glob("*.png"))) == 1


def test_evaluation_does_not_depend_on_the_batch_size(data, finished):
    results = [run_eval(tiny(data, eval__batch_size=n), finished) for n in (4, 7, 16)]
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


def test_best_and_numbered_checkpoints_and_imported_weights(data, finished, tmp_path):
    lines = [x for x in read_lines(finished / "metrics.jsonl") if x["kind"] == "test"]
    best = max(lines, key=lambda x: x["ema_accuracy"])  # the first of equals
    assert [int(p.name) for p in (finished / "best").iterdir()] == [best["step"]]
    found = run_eval(tiny(data, eval__checkpoint="best"), finished)
    assert found["ema"]["loss"] == pytest.approx(best["ema_loss"], rel=1e-5)
    fourth = run_eval(tiny(data, eval__checkpoint="4"), finished)
    assert fourth["raw"]["loss"] != pytest.approx(lines[-1]["raw_loss"], rel=1e-5)
    with pytest.raises(ValueError, match=r"no checkpoint of step 5; it has 2, 4, 6"):
        run_eval(tiny(data, eval__checkpoint="5"), finished)

    from wonn_jax.train.experiment import Experiment

    like = Experiment(tiny(data), 40).abstract_state()
    with checkpoints.Checkpoints(finished / "checkpoints", 3) as saved:
        state = saved.restore(like).state
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    np.savez(tmp_path / "weights.npz", **to_pytorch(variables, "maze"))
    imported = run_eval(tiny(data), tmp_path, str(tmp_path / "weights.npz"))["imported"]
    assert imported["loss"] == pytest.approx(lines[-1]["raw_loss"], rel=1e-5)
    message = r"\(16,\) there, \(32,\) here; 1 layers.*--config\.model\.width"
    with pytest.raises(ValueError, match=message):
        run_eval(tiny(data, model__width=16), tmp_path, str(tmp_path / "weights.npz"))


def test_describe(data, capsys):
    run_describe(tiny(data))
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


def test_timings(data, finished, tmp_path, capsys):
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
        data,
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


def test_the_next_batches_are_there_before_a_step(data, tmp_path, monkeypatch):
    """Two of them, in their order, and no more; what is not there by intent is refused."""
    from wonn_jax.dist import mesh as sharding
    from wonn_jax.train import experiment

    events: list[tuple[str, list[int]]] = []
    put, call = sharding.put_batch, experiment.CompiledStep.__call__

    def put_batch(batch, mesh):
        events.append(("put", batch["id"].tolist()))
        fifth = len([kind for kind, _ in events if kind == "put"]) == 5
        return batch if fifth else put(batch, mesh)  # left on the host

    def step(self, state, batch):
        events.append(("step", batch["id"].tolist()))
        return call(self, state, batch)

    monkeypatch.setattr(sharding, "put_batch", put_batch)
    monkeypatch.setattr(experiment.CompiledStep, "__call__", step)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train(tiny(data, eval__every="never"), tmp_path)
    puts = [ids for kind, ids in events if kind == "put"]
    assert [ids for kind, ids in events if kind == "step"] == puts[:5] and len(puts) == 6
    kinds = [kind for kind, _ in events]
    places = [i for i, kind in enumerate(kinds) if kind == "step"]
    assert [kinds[:i].count("put") for i in places] == [AHEAD, 3, 4, 5, 6]


def test_each_step_is_compiled_once(data, tmp_path):
    """With several evaluations, partial last batches of both splits, and a resume."""
    compiled: list[str] = []

    def listener(event: str, _: float, fun_name: str = "", **__) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(fun_name)

    create, update, evaluate = "jit(<lambda>)", "jit(train_step)", "jit(<lambda>)"
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        for length, expected in (
            ("4 steps", [create, update, evaluate]),
            ("8 steps", [update, evaluate]),
        ):
            compiled.clear()
            config = tiny(data, train__length=length, eval__every="2 steps", eval__batch_size=12)
            train(config, tmp_path)
            # Orbax slices what several devices hold, to have each of them write a part.
            assert [name for name in compiled if name != "jit(slice)"] == expected
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


def test_a_batch_of_another_shape_is_an_error(data, tmp_path, monkeypatch):
    """No silent compilation; and a trace that was cut short is closed."""
    from wonn_jax.train import loop

    batches = loop._batches

    def short_fifth(*args):
        for number, batch in enumerate(batches(*args)):
            yield batch if number != 4 else {name: x[:8] for name, x in batch.items()}

    monkeypatch.setattr(loop, "_batches", short_fifth)
    with pytest.raises(TypeError, match=r"int32\[16.*int32\[8"):
        train(tiny(data, eval__every="never", profile__start=3, profile__steps=3), tmp_path / "run")
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))
    jax.profiler.start_trace(str(tmp_path / "another"))  # there is one at a time
    jax.profiler.stop_trace()


def test_trace_of_some_steps(data, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    config = tiny(
        data,
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


def test_a_trace_beyond_the_run(data, tmp_path):
    with pytest.raises(ValueError, match="up to step 12, but the run has 6"):
        train(tiny(data, profile__start=10, profile__steps=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- What is refused -------------------------------------------------------------------------


def untouched(workdir: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(workdir)): p.read_bytes()
        for p in sorted(workdir.rglob("*"))
        if p.is_file()
    }


def test_workdir_of_another_experiment(data, finished):
    before = untouched(finished)
    with pytest.raises(
        ValueError,
        match=r"holds another experiment:\n  model\.steps: \[2\] there, \[3\] "
        r"now\nUse another --workdir",
    ):
        train(tiny(data, model__steps=(3,)), finished)
    assert untouched(finished) == before


def test_what_may_change_on_resume(data, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    config = tiny(
        data,
        train__length="8 steps",
        eval__every="never",
        log__tensorboard=False,
        checkpoint__keep=5,
        eval__pictures=0,
    )
    train(config, tmp_path / "run")
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 8


def test_checkpoint_of_another_model(data, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    before = untouched(tmp_path / "run")
    with pytest.raises(
        ValueError,
        match=r"is of another model:\n  batch_stats.*found float32\[16\]"
        r", required float32\[32\]",
    ):
        train(tiny(data, model__width=16), tmp_path / "run")
    assert untouched(tmp_path / "run") == before
    with pytest.raises(ValueError, match=r"holds another experiment:\n  seed: 0 there, 1 now"):
        train(tiny(data, seed=1), tmp_path / "run")  # the same shapes, but not the same run
    with pytest.raises(ValueError, match="is of another model"):
        run_eval(tiny(data, model__layers=2), finished)


def test_data_that_changed(data, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(data, tmp_path / "data")
    for kind in ("inputs", "labels"):
        path = tmp_path / "data" / "train" / f"all__{kind}.npy"
        np.save(path, np.load(path)[::-1])
    before = untouched(tmp_path / "run")
    with pytest.raises(ValueError, match="was trained on data with fingerprint .* put in another"):
        train(tiny(tmp_path / "data"), tmp_path / "run")
    assert untouched(tmp_path / "run") == before


def test_missing_data_leaves_no_workdir(tmp_path):
    with pytest.raises(FileNotFoundError, match="all__inputs"):
        train(tiny(tmp_path / "nothing"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_room_on_the_disk(data, finished, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"A checkpoint needs \d+ MiB and .* has 0 MiB left"):
        train(tiny(data), tmp_path / "fresh")
    shutil.copytree(finished, tmp_path / "run")
    before = untouched(tmp_path / "run" / "checkpoints")
    with pytest.raises(OSError, match=r"The checkpoints there \(2, 4, 6\) are untouched"):
        train(tiny(data, train__length="8 steps"), tmp_path / "run")
    assert untouched(tmp_path / "run" / "checkpoints") == before


def test_loss_that_is_no_number(data, finished, tmp_path, monkeypatch):
    """Six good steps, then a learning rate that breaks the parameters at the seventh."""
    from wonn_jax.train import experiment

    def breaks_at_seven(*_, **__):
        return lambda count: jnp.where(count < 6, 1e-3, 1e38)

    monkeypatch.setattr(experiment, "make_schedule", breaks_at_seven)
    shutil.copytree(finished, tmp_path / "run")
    config = tiny(data, train__length="12 steps", checkpoint__every="1 steps")
    with pytest.raises(
        FloatingPointError,
        match=r"At step 7 the loss is .*step 6 in .* is intact.*learning_rate \(now 0\.001\)",
    ):
        train(config, tmp_path / "run")
    with checkpoints.Checkpoints(tmp_path / "run" / "checkpoints", 3) as saved:
        newest = saved.restore(experiment.Experiment(config).abstract_state())
    assert newest is not None and newest.step == 6


def test_a_run_without_checkpoints_begins_at_its_best(data, finished, tmp_path, capsys):
    """Killed after an evaluation and before the first regular checkpoint."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    train(tiny(data), tmp_path / "run")
    (best,) = [int(p.name) for p in (finished / "best").iterdir()]
    assert f"step {best}, resumed from" in capsys.readouterr().out
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()


def test_evaluation_with_other_settings_says_so(data, finished, capsys):
    # Nor does it take the optimizer of the training: its state is not what is evaluated.
    run_eval(tiny(data, model__steps=(4,), optimizer__clip_norm=3.0), finished)
    assert "note     model.steps is [4], trained with [2]" in capsys.readouterr().out


def test_eval_without_a_checkpoint(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*--weights=FILE"):
        run_eval(tiny(data), tmp_path / "nothing")
