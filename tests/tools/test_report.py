"""The report of a run: complete in one file, and alive in a browser where there is one."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from runs import run

from wonn_jax.dynamics import Evolution
from wonn_jax.report import group_dynamics
from wonn_jax.tools.paper import rows_for


@pytest.fixture(scope="module")
def workdir(maze_run, tmp_path_factory):
    return shutil.copytree(maze_run, tmp_path_factory.mktemp("report") / "run")


def report(workdir) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "wonn_jax.report", str(workdir)])


def test_it_holds_everything_and_asks_for_nothing(workdir):
    found = report(workdir)
    assert found.returncode == 0, found.stderr
    text = (workdir / "report.html").read_text()
    assert "http" not in text and 'src="data:image/png' in text
    for part in ("Result", "Training", "Dynamics", "Environment", "76.2 %", "model.width"):
        assert part in text
    start = text.index('id="dynamics">') + len('id="dynamics">')
    data = json.loads(text[start : text.index("</script>", start)])
    assert len(data["captions"]) == len(data["boards"]) == 3
    for board in data["boards"]:
        assert len(board["frames"]) == len(board["energies"]) == 3
        assert 0 <= min(map(min, board["frames"][-1])) <= max(map(max, board["frames"][-1])) <= 255


def test_what_is_missing_is_said(workdir, tmp_path):
    for change, message in (
        (lambda: None, "holds no run"),
        (lambda: shutil.copy(workdir / "config.json", tmp_path), "no evaluation yet"),
        (lambda: (tmp_path / "run.json").write_text("{"), "is no JSON"),
        (
            lambda: (
                (tmp_path / "run.json").unlink()
                or (tmp_path / "metrics.jsonl").write_text('{"kind": "test", "step": 3}\n')
            ),
            "lacks 'raw_accuracy'",
        ),
    ):
        change()
        found = report(tmp_path)
        assert found.returncode == 2 and message in found.stderr, found.stderr
        assert "Traceback" not in found.stderr


def test_the_slider_moves_the_board_in_a_browser(workdir):
    playwright = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("There is no browser on this machine.")
    report(workdir)
    with playwright.sync_playwright() as p:
        page = p.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"file://{workdir}/report.html")
        before = page.evaluate("document.getElementById('board0').toDataURL()")
        page.focus("#step")
        page.keyboard.press("ArrowLeft")
        assert page.inner_text("#now") == "after step 2 of 3"
        assert page.evaluate("document.getElementById('board0').toDataURL()") != before
        assert not errors


def test_groups_of_images_step_by_step():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    layers = [
        Evolution(None, rng.normal(size=(steps, 2, 3, 3, 8)), rng.normal(size=(steps, 2)))
        for steps in (3, 4)
    ]
    data = json.loads(json.dumps(group_dynamics(pictures, layers)))
    assert len(data["captions"]) == 7 and data["captions"][3] == "layer 2 of 2, step 1"
    for board, picture in zip(data["boards"], pictures, strict=True):
        np.testing.assert_array_equal(board["pixels"], picture)
        assert len(board["frames"]) == len(board["energies"]) == 7
        assert np.shape(board["frames"][0]) == (3, 3)
        last = np.array(board["frames"][2])
        assert last.max() == 127 or last.min() == -127  # in colours of its own range


def test_the_figures_of_the_paper_for_a_run():
    assert rows_for("maze", "cifar10")[0] == ("WONN-trig L1T24", "0.396M", 76.2)
    assert rows_for("sudoku", "") == [("WONN-trig L1T16", "1.58M", 100.0)]
    assert ("WONN-mlp C256", "12.04M", 76.2) in rows_for("image", "cifar100")
    assert [name for name, _, _ in rows_for("image", "imagenet", 1000)] == [
        "WONN-mlp C64-256",
        "WONN-mlp C256",
    ]
    assert ("WONN-trig C256", "11.87M", 82.22) in rows_for("image", "imagenet", 100)
    assert rows_for("image", "digits", 10) == []
