"""Test examples step by step, under a slider: what is shown depends on the task.

`EXHIBITS` has a function for each task that can be shown; `script.js` has a painter for each kind
of frame.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from wonn_jax.tasks.pictures import class_name, errors
from wonn_jax.tools.network import Network, batch_of, load_network, watch
from wonn_jax.tools.phases import colour_limit, contrast, groups
from wonn_jax.tools.puzzles import PUZZLES, Puzzle
from wonn_jax.tools.report.fragments import element, read, render, script_data, template
from wonn_jax.tools.solving import Answer, answer

EXAMPLES = 3
"""Test examples that are shown."""

DRAWS = 8
"""Draws of the initial phases of which the one with the lowest energy answers a board."""


class Exhibit(NamedTuple):
    """What the slider shows.

    explanation: a sentence for the reader.
    painter: name of the function in `script.js` that draws a frame.
    palette: colours for the painter.
    size: width and height of a canvas, pixels.
    steps: names of the positions of the slider.
    examples: of each example `frames` and `energies`, one for every position of the slider, and
      what else the painter needs.
    captions: one for each example.
    """

    explanation: str
    painter: str
    palette: dict[str, Any]
    size: tuple[int, int]
    steps: list[str]
    examples: list[dict[str, Any]]
    captions: list[str]


MakeExhibit = Callable[[Network, Mapping[str, np.ndarray], Sequence[str]], Exhibit]
"""Takes a network, a batch of test examples and the names of the classes."""


def section(workdir: epath.Path, task: str) -> str:
    """The section of the report as HTML; '' if examples of this task cannot be shown.

    Raises:
      ValueError, OSError: the run has no checkpoint, its data are missing, or its network has no
        oscillators.
    """
    if task not in EXHIBITS:
        return ""
    network = load_network(workdir, task)
    source = network.load("test")
    batch = batch_of(source, range(min(EXAMPLES, len(source))))
    exhibit = EXHIBITS[task](network, batch, getattr(source, "class_names", ()))
    return section_html(exhibit)


def section_html(exhibit: Exhibit) -> str:
    """The section that shows an exhibit."""
    width, height = exhibit.size
    figures = [
        element(
            "figure",
            element("canvas", id=f"example{n}", width=width, height=height),
            element(
                "figcaption",
                f"test example {n}: {caption}",
                element("br"),
                element("span", id=f"energy{n}"),
            ),
        )
        for n, caption in enumerate(exhibit.captions)
    ]
    fields = ("painter", "palette", "steps", "examples")
    data = {name: getattr(exhibit, name) for name in fields}
    return template(
        "dynamics.html",
        explanation=render(element("p", exhibit.explanation)),
        last=str(len(exhibit.steps) - 1),
        figures=render(*figures),
        data=script_data(data),
        script=read("script.js"),
    )


# --- Boards ---------------------------------------------------------------------------------------


def board_exhibit(
    puzzle: Puzzle, network: Network, batch: Mapping[str, np.ndarray], names: Sequence[str] = ()
) -> Exhibit:
    """Answers to boards as they form."""
    tokens, targets = np.asarray(batch["input"]), np.asarray(batch["target"])
    answers = [answer(network, board, draws=DRAWS) for board in tokens]
    return board_frames(puzzle, tokens, targets, answers)


def board_frames(
    puzzle: Puzzle, tokens: np.ndarray, targets: np.ndarray, answers: Sequence[Answer]
) -> Exhibit:
    """The exhibit of some boards.

    Args:
      puzzle: their kind.
      tokens, targets: of the boards `[B, H, W]`.
      answers: of the network, one for each.
    """
    steps = len(answers[0].energies)
    return Exhibit(
        explanation=(
            f"What the network would answer after each step (EMA weights; of {DRAWS} draws of the "
            "initial phases, the one with the lowest final energy)."
        ),
        painter=puzzle.painter,
        palette=puzzle.palette(),
        size=(270, round(270 * tokens.shape[1] / tokens.shape[2])),
        steps=[f"step {n + 1} of {steps}" for n in range(steps)],
        examples=[
            puzzle.frames(board, target, found.probabilities)
            | {"energies": [float(x) for x in found.energies]}
            for board, target, found in zip(tokens, targets, answers, strict=True)
        ],
        captions=[
            errors(found.classes, target) for found, target in zip(answers, targets, strict=True)
        ],
    )


# --- Images ---------------------------------------------------------------------------------------


def image_exhibit(
    network: Network, batch: Mapping[str, np.ndarray], names: Sequence[str]
) -> Exhibit:
    """Phase groups of images as they form, layer by layer."""
    watched = watch(network, batch)
    predicted = np.asarray(watched.logits).argmax(-1)
    captions = []
    for label, target in zip(predicted, batch["target"], strict=True):
        verdict = "classified correctly"
        if label != target:
            verdict = f"misclassified as {class_name(label, names)}"
        captions.append(f"label {class_name(target, names)}, {verdict}")
    return group_frames(batch["input"], watched.layers, captions)


def group_frames(images: np.ndarray, layers: Sequence[Any], captions: list[str]) -> Exhibit:
    """The exhibit of some images; a frame is the contrast of the phase groups, −127 to 127.

    Args:
      images: `[B, H, W, 3]`, 0 to 255.
      layers: their evolutions, with trajectories `[T, B, h, w, C]` and energies `[T, B]`.
      captions: one for each image.
    """
    examples = []
    for n, image in enumerate(images):
        frames, energies = [], []
        for layer in layers:
            path = np.asarray(layer.trajectory)[:, n]
            centres = groups(path[-1])
            limit = colour_limit(path[-1], centres)
            for theta in path:
                share = np.clip(contrast(theta, centres) / limit, -1, 1)
                frames.append(np.rint(127 * share).astype(int).tolist())
            energies += [float(x) for x in layer.energies[:, n]]
        examples.append({"pixels": image.tolist(), "frames": frames, "energies": energies})
    return Exhibit(
        explanation=(
            "Beside each test image, the two phase groups of a layer in blue and red: the weight "
            "of a cell in the first group minus its weight in the second, centred to mean 0. Each "
            "layer has its own colour scale (EMA weights)."
        ),
        painter="groups",
        palette={"first": [33, 102, 172], "second": [178, 24, 43]},
        size=(400, 200),
        steps=[
            f"layer {number} of {len(layers)}, step {step + 1}"
            for number, layer in enumerate(layers, 1)
            for step in range(len(layer.energies))
        ],
        examples=examples,
        captions=captions,
    )


EXHIBITS: dict[str, MakeExhibit] = {
    "image": image_exhibit,
    **{name: functools.partial(board_exhibit, puzzle) for name, puzzle in PUZZLES.items()},
}
