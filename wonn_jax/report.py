"""One HTML file about a run: `python -m wonn_jax.report WORKDIR`.

Everything is in the file itself: configuration, environment, curves, metrics beside the paper's
figures, votes, and the dynamics of some test examples under a slider: of boards the answer as it
assembles, of images the phase groups as they form. It asks no network for anything.
"""

import argparse
import base64
import html
import io
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wonn_jax.data import load_source
from wonn_jax.solve import Answer, answer
from wonn_jax.tasks.colours import CROSSING, MAZE_COLOURS, rgb
from wonn_jax.tasks.maze import PATH
from wonn_jax.tools.network import batch_of, load_network, read_object, watch
from wonn_jax.tools.paper import rows_for
from wonn_jax.tools.phases import bound, contrast, groups
from wonn_jax.train.checkpoint import named_fields, write_atomically
from wonn_jax.train.metrics import read_lines

SHOWN = 3
"""Test examples whose dynamics are shown."""

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
  label.textContent = 'after ' + data.captions[step];
  data.boards.forEach((board, n) => {
    const canvas = document.getElementById('board' + n), pen = canvas.getContext('2d');
    document.getElementById('energy' + n).textContent =
      'energy before the step: ' + board.energies[step].toFixed(1);
    if (data.task === 'image') {
      const half = canvas.width / 2, map = board.frames[step];
      const a = half / board.pixels.length, b = half / map.length;
      board.pixels.forEach((row, y) => row.forEach((colour, x) => {
        pen.fillStyle = 'rgb(' + colour + ')'; pen.fillRect(x * a, y * a, a + 1, a + 1);
      }));
      map.forEach((row, y) => row.forEach((now, x) => {
        const share = Math.abs(now) / 127;
        pen.fillStyle = mix([255, 255, 255], now > 0 ? data.first : data.second, share);
        pen.fillRect(half + x * b, y * b, b + 1, b + 1);
      }));
      return;
    }
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
  });
}
slider.addEventListener('input', draw);
document.getElementById('play').addEventListener('click', () => {
  slider.value = 0; draw();
  const timer = setInterval(() => {
    slider.value = Number(slider.value) + 1; draw();
    if (Number(slider.value) >= data.captions.length - 1) clearInterval(timer);
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
    steps = len(shown[0]["energies"])
    return {
        "task": task,
        "captions": [f"step {n + 1} of {steps}" for n in range(steps)],
        "colours": [rgb(c) for c in MAZE_COLOURS.values()],
        "path": rgb(MAZE_COLOURS["path"]),
        "crossing": rgb(CROSSING),
        "boards": shown,
    }


def group_dynamics(pictures: np.ndarray, layers: Sequence[Any]) -> dict[str, Any]:
    """The same of images: a frame has the contrast of the phase groups, −127 to 127.

    Args:
      pictures: `[B, H, W, 3]`, 0 to 255.
      layers: their evolutions, with trajectories `[T, B, h, w, C]` and energies `[T, B]`.
    """
    shown = []
    for n, picture in enumerate(pictures):
        frames, energies = [], []
        for layer in layers:
            path = np.asarray(layer.trajectory)[:, n]
            centres = groups(path[-1])
            limit = bound(path[-1], centres)
            for theta in path:
                share = np.clip(contrast(theta, centres) / limit, -1, 1)
                frames.append(np.rint(127 * share).astype(int).tolist())
            energies += [float(x) for x in layer.energies[:, n]]
        shown.append({"pixels": picture.tolist(), "frames": frames, "energies": energies})
    captions = [
        f"layer {number} of {len(layers)}, step {step + 1}"
        for number, layer in enumerate(layers, 1)
        for step in range(len(layer.energies))
    ]
    colours = {"first": [33, 102, 172], "second": [178, 24, 43]}
    return {"task": "image", "captions": captions, **colours, "boards": shown}


def curves(lines: list[dict[str, Any]]) -> str:
    """Loss and accuracy over steps, as an HTML image."""
    from wonn_jax.tasks.pictures import plt

    train = [line for line in lines if line["kind"] == "train"]
    test = [line for line in lines if line["kind"] == "test"]
    energies = [x for x in test if "raw_energy" in x]
    count = 3 if energies else 2
    figure, panels = plt.subplots(1, count, figsize=(5 * count, 3.4), layout="constrained")
    left, right = panels[:2]
    left.plot([x["step"] for x in train], [x["loss"] for x in train], lw=0.7, color="#3d7eff")
    left.set(xlabel="step", ylabel="loss of training batches", yscale="log")
    for weights, colour in (("raw", "#b07d2b"), ("ema", "#1b998b")):
        accuracy = [100 * x[f"{weights}_accuracy"] for x in test]
        right.plot([x["step"] for x in test], accuracy, "o-", ms=3, color=colour, label=weights)
        if energies:
            energy = [x[f"{weights}_energy"] for x in energies]
            panels[2].plot([x["step"] for x in energies], energy, "o-", ms=3, color=colour)
            panels[2].set(xlabel="step", ylabel="mean final energy, test examples")
    right.set(xlabel="step", ylabel="right test examples, %")
    right.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    plt.close(figure)
    return _image(buffer.getvalue(), "Loss, accuracy and energy over steps")


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
        read[name] = read_object(file) if file.is_file() else {}
    config = read["config"]
    lines = [x for x in read_lines(workdir / "metrics.jsonl") if isinstance(x, dict)]
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
        *_paper(config, last, read["run"]),
        "<h2>Training</h2>",
        curves(lines),
    ]
    if config["model"]["name"] != "resnet":
        try:
            parts += _dynamics(workdir, task)
        except (ValueError, OSError, ImportError) as error:  # the rest is worth showing
            parts.append(f"<h2>Dynamics</h2><p>Not shown: {html.escape(str(error))}</p>")
    if read["voting"]:
        parts += _votes(read["voting"])
        for picture in sorted(workdir.glob("voting_*.png")):
            parts.append(_image(picture.read_bytes(), picture.name))
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


def _paper(config: dict[str, Any], last: dict[str, Any], run: dict[str, Any]) -> list[str]:
    task = config["task"]
    rows = rows_for(task, config["data"]["name"], config["data"]["classes"])
    if not rows:
        return ["<p>The paper (arXiv 2605.20922) has no figure for these data.</p>"]
    size = f"{run['parameters']:,}" if "parameters" in run else ""
    raw, ema = (f"{100 * last[f'{weights}_accuracy']:.2f} %" for weights in ("raw", "ema"))
    ours = ("this run", size, "", raw, ema)
    note = "Its configurations are in <code>configs/</code>, this run's is below."
    if task in ("maze", "sudoku"):
        kind = "Maze-hard, 30×30" if task == "maze" else "SATNet's boards"
        note = f"The paper's boards are {kind}. {note}"
    return [
        "<p>Beside the paper's figures (arXiv 2605.20922):</p>",
        _table(
            [ours, *((name, n, f"{accuracy} %", "", "") for name, n, accuracy in rows)],
            ("model", "parameters", "paper", "raw weights", "EMA weights"),
        ),
        f"<p>{note}</p>",
    ]


def _dynamics(workdir: Path, task: str) -> list[str]:
    network = load_network(workdir, task)
    source = load_source(network.config, "test")
    batch = batch_of(source, range(min(SHOWN, len(source))))
    figures = []
    if task == "image":
        watched = watch(network, batch)
        right = np.asarray(watched.logits).argmax(-1) == batch["target"]
        data = group_dynamics(batch["input"], watched.layers)
        width, height = 400, 200
        captions = ["classified rightly" if x else "classified wrongly" for x in right]
        what = (
            "Beside each test image the two phase groups of a layer, blue and red: the weight of a "
            "cell in the one less that in the other, against its mean, in colours of its own range "
            "(EMA weights)."
        )
    else:
        tokens, targets = np.asarray(batch["input"]), np.asarray(batch["target"])
        found = [answer(network, board, draws=8) for board in tokens]
        data = dynamics(task, list(zip(tokens, targets, found, strict=True)))
        width, height = 270, round(270 * tokens.shape[1] / tokens.shape[2])
        captions = []
        for one, target in zip(found, targets, strict=True):
            wrong = int((one.classes != target).sum())
            differ = f"{wrong} of {target.size} cells differ from the label"
            captions.append(differ if wrong else "exact")
        what = (
            "What the network would answer after each step (EMA weights; of 8 draws of the initial "
            "phases the one with the lowest energy)."
        )
    for n, caption in enumerate(captions):
        figures.append(
            f'<figure><canvas id="board{n}" width="{width}" height="{height}"></canvas>'
            f'<figcaption>test example {n}: {caption}<br><span id="energy{n}"></span></figcaption>'
            "</figure>"
        )
    last = len(data["captions"]) - 1
    return [
        f'<h2>Dynamics</h2><p>{what}</p><p><button id="play">play'
        f'</button> <span id="now"></span><br><input id="step" type="range" min="0" max="{last}" '
        f'value="{last}" aria-label="step"></p>',
        *figures,
        f'<script type="application/json" id="dynamics">{json.dumps(data)}</script>',
        f"<script>{SCRIPT}</script>",
    ]


def _votes(voting: dict[str, Any]) -> list[str]:
    from wonn_jax.evaluators.voting import RULES

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
