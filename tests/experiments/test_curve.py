"""Training curves of runs."""

import numpy as np
from PIL import Image

from experiments import curve


def test_curves_of_one_run_and_of_two(maze_run, tmp_path, capsys):
    for runs in ([maze_run], [maze_run, maze_run]):
        path = tmp_path / "new" / f"{len(runs)}.png"
        assert curve.main([*map(str, runs), str(path)]) == 0, capsys.readouterr().err
        with Image.open(path) as picture:
            assert picture.size == (1080, 408)
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    assert curve.main([str(tmp_path), str(tmp_path / "out.png")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_line_about_a_run():
    """Fields that a network does not have are left out."""
    config = {
        "data": {"name": "maze", "height": 6, "width": 7},
        "model": {"name": "some", "width": 8, "steps": [2, 6]},
    }
    assert curve.describe(config) == "maze 6×7, some, C 8, T 2, 6"


def test_a_running_mean():
    np.testing.assert_allclose(curve.smooth(np.array([1.0, 2.0, 6.0]), 2), [1.5, 4.0])
