"""The contract of a kind of puzzle: read from text, judged by a search, shown and drawn."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES = "+-|─│┌┐└┘├┤┬┴┼━┃┏┓┗┛┣┫┳┻╋═║╔╗╚╝╠╣╦╩╬╭╮╰╯╴╵╶╷╸╹╺╻"
"""Characters that people draw frames and thin walls with."""


class Verdict(NamedTuple):
    """Whether an answer solves its puzzle, and a line for people that says how or why not."""

    solved: bool
    text: str


class Loaded(NamedTuple):
    """Boards from files.

    boards: `[H, W]` tokens each.
    origin: where they stood and how they were read, for people.
    names: of each, with its file, for messages.
    """

    boards: list[np.ndarray]
    origin: str
    names: list[str]


class Puzzle(abc.ABC):
    """A kind of puzzle on boards.

    A board is its input tokens `[H, W]`, an answer its predicted classes `[H, W]`, both as in the
    data of the task of that name.

    Attributes:
      name: of the task, and on the command line.
      painter: name of the function in `report/script.js` that draws a frame.
      signs: options of `load`: what can be told about the signs of a drawing.
    """

    name: ClassVar[str]
    painter: ClassVar[str]
    signs: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def read(self, text: str, where: str) -> list[np.ndarray]:
        """The boards in a text.

        Args:
          text: one or several puzzles.
          where: name of the text for messages, such as that of its file.

        Raises:
          ValueError: not such puzzles; the message says where.
        """

    @abc.abstractmethod
    def load(self, file: str, **signs: str) -> Loaded:
        """The boards of a file, of standard input ('-'), or of all files of a folder or archive.

        Args:
          file: its name.
          signs: those of `self.signs` that are known.

        Raises:
          OSError: a file cannot be read.
          ValueError: as from `read`.
        """

    @abc.abstractmethod
    def check_solvable(self, tokens: np.ndarray, name: str) -> None:
        """Raises a ValueError that begins with `name` if a search finds no solution."""

    @abc.abstractmethod
    def judge(self, tokens: np.ndarray, classes: np.ndarray) -> Verdict:
        """Compares an answer with what a search finds."""

    @abc.abstractmethod
    def show(self, tokens: np.ndarray, classes: np.ndarray, colour: bool) -> str:
        """The answer as text for a terminal, with or without ANSI colours."""

    @abc.abstractmethod
    def draw(
        self, axes: Axes, tokens: np.ndarray, classes: np.ndarray | None, target: np.ndarray
    ) -> None:
        """Draws the puzzle (`classes` None) or an answer; `target` is the correct one."""

    @abc.abstractmethod
    def draw_step(
        self,
        axes: Axes,
        tokens: np.ndarray,
        probabilities: np.ndarray,
        target: np.ndarray | None = None,
    ) -> None:
        """Draws what the network would answer after a step of the dynamics.

        Args:
          axes: Matplotlib axes to draw on.
          tokens: the board.
          probabilities: of each class `[H, W, classes]`.
          target: the correct answer if it is known.
        """

    @abc.abstractmethod
    def frames(
        self, tokens: np.ndarray, target: np.ndarray, probabilities: np.ndarray
    ) -> dict[str, Any]:
        """What the painter needs for one board, ready for JSON.

        Args:
          tokens: the board.
          target: the correct answer.
          probabilities: of each class after each step `[T, H, W, classes]`.

        Returns:
          `frames`, a list of T, and other entries that do not change over the steps.
        """

    def palette(self) -> dict[str, Any]:
        """Colours that the painter needs, red, green and blue from 0 to 255, by name."""
        return {}
