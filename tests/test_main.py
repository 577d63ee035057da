"""The command line: one message and exit status 2 for every mistake, no traceback."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import pytest
from runs import QUICK, ROOT, command, run

# Each command in a process of its own, all of them forked from one that has imported the libraries.
FORKS = """
import json, os, runpy, sys
import wonn_jax.evaluators.run, wonn_jax.tools.describe, wonn_jax.tools.flags
import wonn_jax.tools.launch, wonn_jax.train.loop

def call(argv, folder):
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
    sys.argv = argv
    try:
        runpy.run_module("wonn_jax.main", run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as exit:
        return exit.code or 0
    finally:
        sys.stdout.flush(), sys.stderr.flush()

for argv, folder in json.load(sys.stdin):
    os.makedirs(folder)
    if not (child := os.fork()):
        status = 1
        try:
            status = call(argv, folder)
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
CARDS = {  # of one's own, with mistakes
    "empty": ("", "empty.py is no card: it has no function get_config"),
    "syntax": ("x = 1\ndef get_config(:\n", "syntax.py fails in line 2 (SyntaxError"),
    "imports": ("import nonsense_q\n", "imports.py fails in line 1 (ModuleNotFoundError"),
    "fails": (
        "def get_config():\n    return 1 / 0\n",
        "fails.py fails in line 2 (ZeroDivisionError",
    ),
    "number": (
        "def get_config():\n    return 3\n",
        "number.py returns a value of type int; it must return card",
    ),
    "exits": (
        "import sys\nsys.exit(1)\n",
        "exits.py ends the program in line 2 (status 1); it must return",
    ),
}
RESNET = f"--config={ROOT / 'configs/cifar10.py'}:resnet18"
MISTAKES = [
    (
        ["--config.model.head=4"],
        "config.model has no field 'head'; did you mean config.model.heads",
    ),
    (["--config.model.head", "4"], "did you mean config.model.heads? It has attention, heads, "),
    (["--config.modle.heads=4"], "config has no field 'modle'; did you mean config.model?"),
    (
        ["--config.model.heads=many"],
        "error: --config.model.heads=many must be an integer; the card has 8.\n",
    ),
    (
        ["--nonsense=3"],
        "Unknown command line flag 'nonsense'. Set a field of the card with --config.",
    ),
    (["--config.model.heads=3"], "not divisible by twice config.model.heads=3"),
    ([RESNET, "--config.model.heads=4"], "has no field 'heads'. It has blocks, precision, width"),
    (
        ["--config.data.min_path=50"],
        "--config.data.min_path has no effect: data.path holds the maz",
    ),
    (["--config.optimizer.end_learning_rate=2e-3"], "has no effect: optimizer.schedule=constant"),
    (["--config.eval.evaluators=('voting',)"], "has none that runs in training"),
    (["extra"], "Not understood: extra. Settings are --config.NAME=VALUE."),
    (["--config.devices.cpu_devices=3"], "cannot be split over 3 devices"),
    (["--config.data.path=/nowhere"], "/nowhere"),
    (["--config.data.height=6"], "Required: uint8 [N, 30]"),
    (["--distributed=on"], "needs --coordinator=HOST:PORT"),
    (["--num_processes=2"], "no effect with --distributed=off"),
    (["--distributed=auto"], "--distributed=auto needs"),
    (["--mode=eval"], "There is no checkpoint"),
    (["--mode=eval", "--weights=nothing.npz"], "nothing.npz"),
    (["--weights=nothing.npz"], "--weights has no effect on --mode=train or describe"),
    (["--config=configs/nothing.py"], "error: the card 'configs/nothing.py' does not exist;"),
    *(([f"--config=CARDS/{name}.py"], message) for name, (_, message) in CARDS.items()),
    (["--config.mesh={}"], "error: --config.mesh must be set field by field: --config.mesh.FIELD"),
    ([f"--config={ROOT / 'configs/maze_hard.py'}:tiny"], "has no preset 'tiny'; it has 'small'.\n"),
]


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def results(mazes, tmp_path_factory) -> list[Result]:
    """What the command line says to each of the mistakes."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, (text, _) in CARDS.items():
        (folder / f"{name}.py").write_text(text)
    calls = []
    for number, (mistake, _) in enumerate(MISTAKES):
        flags = [flag.replace("CARDS", str(folder)) for flag in mistake]
        _, _, name, *arguments = command(mazes, folder / f"run_{number}")
        if any(flag.startswith("--config=") for flag in flags):
            arguments = [a for a in arguments if a.startswith("--workdir")]
        calls.append(([name, *arguments, *flags], str(folder / str(number))))
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | QUICK,
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = []
    for number, status in enumerate(map(int, done.stdout.split())):
        out, err = ((folder / str(number) / name).read_text() for name in ("out", "err"))
        assert not (folder / f"run_{number}").exists(), out + err
        found.append(Result(status, out, err))
    return found


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: " ".join(MISTAKES[n][0]))
def test_mistakes(results, number):
    found, (_, message) = results[number], MISTAKES[number]
    assert found.status == 2, found.out + found.err
    assert message in found.err
    assert found.err.count("error:") == 1
    assert "Traceback" not in found.err


def test_a_process_of_its_own_says_the_same(mazes, tmp_path):
    result = run([*command(mazes, tmp_path / "run"), "extra"])
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "error: Not understood: extra." in result.stderr


def test_describe_and_default_workdir(mazes, tmp_path):
    arguments = [a for a in command(mazes, tmp_path) if not a.startswith("--workdir")]
    before = (ROOT / "runs" / "maze_hard").exists()
    result = run([*arguments, "--mode=describe"], **QUICK)
    assert result.returncode == 0, result.stderr
    assert "temporaries" in result.stdout
    assert (ROOT / "runs" / "maze_hard").exists() == before


def test_a_relative_workdir(mazes, tmp_path):
    arguments = command(mazes, tmp_path, "--config.train.length=2 steps")
    arguments = [a if not a.startswith("--workdir") else "--workdir=run" for a in arguments]
    result = subprocess.run(
        arguments,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | QUICK,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    assert "step 2/2" in result.stderr  # plain lines, where there is no terminal
