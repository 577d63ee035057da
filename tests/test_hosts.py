"""Two processes on one machine train together as one would."""

import os
import socket
import subprocess

import numpy as np
from runs import ROOT, command, run, write_mazes

from wonn_jax.metrics import read_lines


def test_two_processes_equal_one(tmp_path):
    """Same examples, same phases, one set of files, hosts that agree on when to save."""
    data = write_mazes(tmp_path / "data")
    flags = ("--config.train.length=10 steps", "--config.eval.every=5 steps")
    alone = run(command(data, tmp_path / "alone", *flags))
    assert alone.returncode == 0, alone.stderr
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    arguments = [
        *command(data, tmp_path / "both", *flags, "--config.checkpoint.every=0.01 minutes"),
        "--distributed=on",
        f"--coordinator=localhost:{port}",
        "--num_processes=2",
    ]
    hosts = [
        subprocess.Popen(
            [*arguments, f"--process_id={i}"],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs
    assert "2 × cpu on 2 hosts" in outputs[0][0]
    ours, theirs = (read_lines(tmp_path / name / "metrics.jsonl") for name in ("both", "alone"))
    assert [(x["step"], x["kind"]) for x in ours] == [(x["step"], x["kind"]) for x in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        name = "loss" if mine["kind"] == "train" else "ema_loss"
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-3)
