"""The colours of mazes: in pictures, animations, the report and the terminal."""

MAZE_COLOURS = {
    "wall": "#1b1b1b",
    "free": "#f4f1ea",
    "start": "#d7263d",
    "goal": "#1b998b",
    "path": "#3d7eff",
}
"""By class, in the order of their numbers."""

CROSSING = "#8e44ad"
"""Of a path through a wall."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of '#rrggbb'."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
