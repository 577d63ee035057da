"""One HTML file about a run: `python -m wonn_jax.report WORKDIR`.

Everything is in the file itself: configuration, environment, curves, metrics, votes, and for boards
an answer that assembles step by step under a slider. It asks no network for anything.
"""

import argparse
import base64
import html
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from wonn_jax.checkpoint import named_fields, write_atomically
from wonn_jax.colours import CROSSING, MAZE_COLOURS, rgb
from wonn_jax.data import load_source
from wonn_jax.metrics import read_lines
from wonn_jax.network import load_network
from wonn_jax.solve import Answer, answer
from wonn_jax.tasks.maze import PATH

BOARDS = 3
"""Test boards whose dynamics are shown."""

PAPER = {
    "maze": "76.2 % exact boards on Maze-hard (30×30), 80.1 % with energy voting over 32 draws",
    "sudoku": "100.0 % exact boards on SATNet's Sudoku",
    "image": "94.5 to 95.3 % on CIFAR-10, 73.8 to 76.2 % on CIFAR-100, by size",
}
"""What the paper (arXiv 2605.20922) reports, of its own configurations."""

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
body{color:#1b1b1b}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:.9rem}td,th{padding:.15rem .8rem .15rem 0;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
figure{display:inline-block;margin:0 1.5rem 1rem 0;vertical-align:top}figcaption{font-size:.85rem}
canvas{border:1px solid #ccc}input[type=range]{width:100%;max-width:30rem}
details{font-size:.85rem}
"""

SCRIPT = """
const data = JSON.parse(document.getElementById('dynamics').textContent);
const slider = document.getElementById('step'), label = document.getElementById('now');
const mix = (a, b, s) => 'rgb(' + a.map((x, i) => Math.round((1 - s) * x + s * b[i])) + ')';
function draw() {
  const step = Number(slider.value);
  label.textContent = 'after step ' + (step + 1) + ' of ' + data.steps;
  data.boards.forEach((board, n) => {
    const canvas = document.getElementById('board' + n), pen = canvas.getContext('2d');
    const rows = board.tokens.length, columns = board.tokens[0].length;
    const side = canvas.width / columns;
    board.tokens.forEach((row, y) => row.forEach((token, x) => {
      const now = board.frames[step][y][x];
      if (data.task === 'maze') {
        const base = data.colours[token];
        pen.fillStyle = token === 1 ? mix(base, data.path, now / 255)
          : token === 0 ? mix(base, data.crossing, now / 255) : mix(base, base, 0);
        pen.fillRect(x * side, y * side, side + 1, side + 1);
      } else {
        pen.fillStyle = '#fff'; pen.fillRect(x * side, y * side, side, side);
        pen.fillStyle = token ? '#1b1b1b' : now === board.target[y][x] ? '#3d7eff' : '#d7263d';
        pen.font = (token ? 'bold ' : '') + side * 0.55 + 'px sans-serif';
        pen.textAlign = 'center'; pen.textBaseline = 'middle';
        pen.fillText(now, (x + 0.5) * side, (y + 0.55) * side);
      }
    }));
    if (data.task === 'sudoku') for (let i = 0; i <= 9; i++) {
      pen.fillStyle = '#1b1b1b'; const w = i % 3 ? 0.5 : 2;
      pen.fillRect(i * side - w / 2, 0, w, canvas.height);
      pen.fillRect(0, i * side - w / 2, canvas.width, w);
    }
    document.getElementById('energy' + n).textContent =
      'energy before the step: ' + board.energies[step].toFixed(1);
  });
}
slider.addEventListener('input', draw);
document.getElementById('play').addEventListener('click', () => {
  slider.value = 0; draw();
  const timer = setInterval(() => {
    slider.value = Number(slider.value) + 1; draw();
    if (Number(slider.value) >= data.steps - 1) clearInterval(timer);
  }, 250);
});
draw();
"""


def dynamics(task: str, boards: list[tuple[np.ndarray, np.ndarray, Answer]]) -> dict[str, Any]:
    """What the slider shows: of each board (input, target, answer) a frame for every step.

    A frame of a maze has the probability of the path, 0 to 255; of a Sudoku the digits.
    """
    shown = []
    for tokens, target, found in boards:
        if task == "maze":
            frames = np.rint(255 * found.probabilities[..., PATH]).astype(int)
        else:
            frames = np.where(tokens > 0, tokens, found.probabilities.argmax(-1) + 1)
        energies = [float(x) for x in found.energies]
        shown.append(
            {
                "tokens": tokens.tolist(),
                "target": (target + (task == "sudoku")).tolist(),
                "frames": frames.tolist(),
                "energies": energies,
            }
        )
    return {
        "task": task,
        "steps": len(shown[0]["energies"]),
        "colours": [rgb(c) for c in MAZE_COLOURS.values()],
        "path": rgb(MAZE_COLOURS["path"]),
        "crossing": rgb(CROSSING),
        "boards": shown,
    }


def curves(lines: list[dict[str, Any]]) -> str:
    """Loss and accuracy over steps, as an HTML image."""
    from wonn_jax.pictures import plt

    train = [line for line in lines if line["kind"] == "train"]
    test = [line for line in lines if line["kind"] == "test"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    left.plot([x["step"] for x in train], [x["loss"] for x in train], lw=0.7, color="#3d7eff")
    left.set(xlabel="step", ylabel="loss of training batches", yscale="log")
    for weights, colour in (("raw", "#b07d2b"), ("ema", "#1b998b")):
        accuracy = [100 * x[f"{weights}_accuracy"] for x in test]
        right.plot([x["step"] for x in test], accuracy, "o-", ms=3, color=colour, label=weights)
    right.set(xlabel="step", ylabel="right test examples, %")
    right.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    plt.close(figure)
    return _image(buffer.getvalue(), "Loss and accuracy over steps")


def _image(data: bytes, title: str) -> str:
    code = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{code}">'


def _table(rows: list[tuple[Any, ...]], head: tuple[str, ...] = ()) -> str:
    def cell(x: Any, tag: str = "td") -> str:
        number = isinstance(x, float)
        text = f"{x:.4f}" if number else html.escape(str(x))
        return f"<{tag}{' class=n' if number else ''}>{text}</{tag}>"

    lines = ["".join(cell(x, "th") for x in head)] if head else []
    lines += ["".join(map(cell, row)) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def page(workdir: Path) -> str:
    """The report of a run as HTML.

    Raises:
      FileNotFoundError: no run, or one without results.
      ValueError: a file of the run that cannot be read.
    """
    files = {name: workdir / f"{name}.json" for name in ("config", "run", "voting")}
    if not files["config"].is_file():
        raise FileNotFoundError(f"{workdir} holds no run: there is no config.json.")
    read = {}
    for name, file in files.items():
        try:
            read[name] = json.loads(file.read_text()) if file.is_file() else {}
        except ValueError as error:
            raise ValueError(f"{file} is no JSON: {error}.") from error
    config = read["config"]
    lines = read_lines(workdir / "metrics.jsonl")
    test = [line for line in lines if line.get("kind") == "test"]
    if not test:
        raise FileNotFoundError(
            f"{workdir / 'metrics.jsonl'} has no evaluation yet; train on, or for less long "
            "between evaluations (--config.eval.every)."
        )
    last = test[-1]
    for name in ("step", "raw_accuracy", "ema_accuracy"):
        if name not in last:
            raise ValueError(f"{workdir / 'metrics.jsonl'}: the last evaluation lacks {name!r}.")
    task = config["task"]
    names = [n.removeprefix("raw_") for n in last if n.startswith("raw_")]
    parts = [
        f"<h1>{html.escape(workdir.name)}: {task}, step {last['step']:,}</h1>",
        "<h2>Result</h2>",
        _table(
            [(n, last[f"raw_{n}"], last.get(f"ema_{n}", "")) for n in names],
            ("on the test split", "raw weights", "EMA weights"),
        ),
        f"<p>The paper (arXiv 2605.20922) reports {PAPER[task]}; its configurations are in "
        "<code>configs/</code>, this run's is below.</p>",
        "<h2>Training</h2>",
        curves(lines),
    ]
    if task in ("maze", "sudoku"):
        parts += _boards(workdir, task)
    if read["voting"]:
        parts += _votes(read["voting"])
    for picture in sorted((workdir / "predictions").glob("step_*.png"))[-1:]:
        parts += ["<h2>Predictions</h2>", _image(picture.read_bytes(), picture.name)]
    fields = [(k, json.dumps(v)) for k, v in named_fields(config).items()]
    parts += [
        "<h2>Environment</h2>",
        _table([(k, str(v)) for k, v in read["run"].items()]),
        "<h2>Configuration</h2>",
        f"<details><summary>{len(fields)} fields</summary>{_table(fields)}</details>",
    ]
    title = html.escape(workdir.name)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _boards(workdir: Path, task: str) -> list[str]:
    network = load_network(workdir, task)
    source = load_source(network.config, "test")
    rng = np.random.default_rng(0)  # nothing about a test board is random
    examples = [source.example(i, rng) for i in range(min(BOARDS, len(source)))]
    shown = [
        (np.asarray(x["input"]), np.asarray(x["target"]), answer(network, x["input"], draws=8))
        for x in examples
    ]
    data = dynamics(task, shown)
    figures = []
    for n, (_, target, found) in enumerate(shown):
        wrong = int((found.classes != target).sum())
        said = "exact" if not wrong else f"{wrong} of {target.size} cells differ from the label"
        height = round(270 * target.shape[0] / target.shape[1])
        figures.append(
            f'<figure><canvas id="board{n}" width="270" height="{height}"></canvas>'
            f'<figcaption>test board {n}: {said}<br><span id="energy{n}"></span></figcaption>'
            "</figure>"
        )
    last = data["steps"] - 1
    return [
        "<h2>Dynamics</h2><p>What the network would answer after each step (EMA weights; of 8 "
        'draws of the initial phases the one with the lowest energy).</p><p><button id="play">play'
        f'</button> <span id="now"></span><br><input id="step" type="range" min="0" max="{last}" '
        f'value="{last}" aria-label="step"></p>',
        *figures,
        f'<script type="application/json" id="dynamics">{json.dumps(data)}</script>',
        f"<script>{SCRIPT}</script>",
    ]


def _votes(voting: dict[str, Any]) -> list[str]:
    from wonn_jax.voting import RULES

    parts = ["<h2>Voting</h2>"]
    for weights in [w for w in ("raw", "ema", "imported") if w in voting]:
        for metric, result in voting[weights].items():
            rows = [(str(r["draws"]), *(r[rule] for rule in RULES)) for r in result["by_draws"]]
            title = f"{metric}, {weights} weights, {result['steps']} steps: single draw "
            title += f"{result['single draw']:.4f} ± {result['single draw, spread']:.4f}"
            parts += [f"<p>{title}</p>", _table(rows, ("draws", *RULES))]
    return parts


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m wonn_jax.report", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--output", type=Path, help="default: report.html in the workdir")
    options = parser.parse_args(argv)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns of its own options
    workdir = options.workdir.expanduser().resolve()
    try:
        text = page(workdir)
        output = options.output or workdir / "report.html"
        write_atomically(output, text)
    except KeyError as error:
        print(f"Error: a file of {workdir} lacks the field {error}.", file=sys.stderr)
        return 2
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(f"written   {output} ({len(text) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
