"""The report of a run: complete in one file, safe with any text, and interactive in a browser."""

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from wonn_jax import report
from wonn_jax.dynamics import Evolution
from wonn_jax.tools.paper import benchmark, rows_for
from wonn_jax.tools.puzzles import PUZZLES
from wonn_jax.tools.report import dynamics, page
from wonn_jax.tools.report.fragments import element, read, render, script_data, table
from wonn_jax.tools.solving import Answer


@pytest.fixture(scope="module")
def workdir(maze_run, tmp_path_factory):
    """A run with its report."""
    folder = shutil.copytree(maze_run, tmp_path_factory.mktemp("report") / "run")
    assert report.main([str(folder)]) == 0
    return folder


class Page(HTMLParser):
    """The tags of a page, and the texts of its table cells, headings and paragraphs."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_it_holds_everything_and_loads_nothing(workdir):
    html = (workdir / "report.html").read_text()
    assert "http" not in html and 'src="data:image/png' in html
    parts = ("Result", "Training", "Dynamics", "Environment", "76.2 %", "model.width", "Maze-hard")
    for part in parts:
        assert part in html
    start = html.index('id="dynamics">') + len('id="dynamics">')
    data = json.loads(html[start : html.index("</script>", start)])
    assert len(data["steps"]) == len(data["examples"]) == 3
    assert f"  {data['painter']}(pen" in read("script.js")
    for example in data["examples"]:
        frames = example["frames"]
        assert len(frames) == len(example["energies"]) == 3
        assert 0 <= min(map(min, frames[-1])) <= max(map(max, frames[-1])) <= 255


def test_missing_and_malformed_files(workdir, tmp_path, capsys):
    def refused(message: str) -> None:
        assert report.main([str(tmp_path)]) == 2
        assert message in capsys.readouterr().err

    refused("holds no run")
    shutil.copy(workdir / "config.json", tmp_path)
    refused("no evaluation yet")
    (tmp_path / "run.json").write_text("{")
    refused("run.json")
    (tmp_path / "run.json").unlink()
    (tmp_path / "metrics.jsonl").write_text('{"kind": "test", "step": 3}\n')
    refused("lacks 'raw_accuracy'")
    shutil.copy(workdir / "metrics.jsonl", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    refused("lacks the field 'task'")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("voting.json", {"raw": {"accuracy": {}}}, "voting.json lacks the field 'single draw'"),
        ("voting.json", {"raw": [1]}, "voting.json has a value of the wrong kind"),
        ("config.json", {"task": {}}, "config.json is damaged"),
        ("config.json", {"task": 3}, "config.json is damaged"),
    ],
)
def test_values_of_another_kind(workdir, tmp_path, capsys, name, content, message):
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).write_text(json.dumps(content))
    assert report.main([str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_metrics_of_another_kind(workdir, tmp_path, capsys):
    shutil.copy(workdir / "config.json", tmp_path)
    line = {"kind": "test", "step": 3, "raw_accuracy": "<b>", "ema_accuracy": 1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert report.main([str(tmp_path)]) == 2
    assert "'raw_accuracy' of the last evaluation is '<b>', not a number" in capsys.readouterr().err


# --- Text that looks like HTML --------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script><b>&amp;"


def test_text_of_a_run_cannot_become_html(workdir, tmp_path):
    """Names and values from a run's files reach the page as text: settings, environment, votes,
    metrics, the name of the folder, and error messages."""
    folder = tmp_path / "<i>run"
    folder.mkdir()
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["path"] = EVIL
    config[EVIL] = 1
    (folder / "config.json").write_text(json.dumps(config))
    about = json.loads((workdir / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {EVIL: EVIL}))
    by_draws = [{"draws": 1, **dict.fromkeys(page.RULES, 0.5)}]
    votes = {"steps": 3, "single draw": 0.5, "single draw, spread": 0.1, "by_draws": by_draws}
    (folder / "voting.json").write_text(json.dumps({"raw": {EVIL: votes}}))
    lines = (workdir / "metrics.jsonl").read_text()
    last = json.loads(lines.splitlines()[-1])
    more = json.dumps(last | {f"raw_{EVIL}": 1.0, f"ema_{EVIL}": EVIL})
    (folder / "metrics.jsonl").write_text(f"{lines}{more}\n")

    html = page.report_page(folder)
    assert "alert(1)" in html and "<script" not in html and "<b>" not in html
    found = Page(html)
    assert not {"script", "i", "b"} & set(found.tags)
    assert found.texts.count(EVIL) == 5  # environment, a metric with its value, a setting
    assert "<i>run" in found.texts and json.dumps(EVIL) in found.texts
    assert any(EVIL in text and "single draw" in text for text in found.texts)


def test_captions_and_data_cannot_become_html():
    evil = dynamics.Exhibit(EVIL, "maze", {}, (9, 9), [EVIL], [{"name": EVIL}], [EVIL])
    found = Page(dynamics.section_html(evil))
    assert found.tags.count("script") == 2 and "b" not in found.tags
    assert EVIL in found.texts and f"test example 0: {EVIL}" in found.texts
    (data,) = [text for text in found.texts if text.startswith("{")]
    assert json.loads(data)["examples"] == [{"name": EVIL}]


def test_fragments():
    assert (
        render(element("p", "a<", element("br"), "b", class_="x")) == '<p class="x">a&lt;<br>b</p>'
    )
    rows = render(table([("n<", 0.25, 3, None)], ("<head>",)))
    assert rows == (
        "<table><tr><th>&lt;head&gt;</th></tr>"
        '<tr><td>n&lt;</td><td class="n">0.2500</td><td>3</td><td>–</td></tr></table>'
    )
    assert json.loads(script_data({"a": "</script>"})) == {"a": "</script>"}
    assert "<" not in script_data({"a": "</script>"})


# --- Dynamics -------------------------------------------------------------------------------------


def test_boards_step_by_step():
    rng = np.random.default_rng(0)
    for name, puzzle in PUZZLES.items():
        tokens = rng.integers(0, 4, (2, 9, 9))
        targets = rng.integers(0, 9, (2, 9, 9))
        answers = [
            Answer(target, rng.random((3, 9, 9, 9)), np.arange(3.0), np.zeros(1))
            for target in targets
        ]
        exhibit = dynamics.board_frames(puzzle, tokens, targets, answers)
        assert exhibit.captions == ["exact", "exact"] and len(exhibit.steps) == 3
        for example in json.loads(json.dumps(exhibit.examples)):
            assert np.shape(example["frames"]) == (3, 9, 9), name
            assert example["energies"] == [0, 1, 2]


def test_groups_of_images_step_by_step():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    layers = [
        Evolution(None, rng.normal(size=(steps, 2, 3, 3, 8)), rng.normal(size=(steps, 2)))
        for steps in (3, 4)
    ]
    exhibit = dynamics.group_frames(images, layers, ["a", "b"])
    assert len(exhibit.steps) == 7 and exhibit.steps[3] == "layer 2 of 2, step 1"
    examples = json.loads(json.dumps(exhibit.examples))
    for example, image in zip(examples, images, strict=True):
        np.testing.assert_array_equal(example["pixels"], image)
        assert len(example["frames"]) == len(example["energies"]) == 7
        assert np.shape(example["frames"][0]) == (3, 3)
        last = np.array(example["frames"][2])
        assert last.max() == 127 or last.min() == -127  # the colour scale of the layer is used up


def test_a_task_without_an_exhibit_shows_nothing(workdir, monkeypatch):
    monkeypatch.delitem(dynamics.EXHIBITS, "maze")
    html = page.report_page(workdir)
    assert "Dynamics" not in html and "Configuration" in html


def test_dynamics_that_cannot_be_shown_leave_the_rest(workdir, tmp_path):
    """Without a checkpoint, for instance."""
    for name in ("config.json", "run.json", "metrics.jsonl"):
        shutil.copy(workdir / name, tmp_path)
    html = page.report_page(tmp_path)
    assert "Not shown: There is no checkpoint" in html and "Configuration" in html


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("There is no browser on this machine.")
    with playwright.sync_playwright() as p:
        yield p.chromium.launch(executable_path=program, args=["--no-sandbox"])


def open_page(browser, file):
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{file}")
    return page, errors


def canvas(page) -> str:
    return page.evaluate("document.getElementById('example0').toDataURL()")


def test_the_slider_moves_the_board_in_a_browser(workdir, browser):
    page, errors = open_page(browser, workdir / "report.html")
    before = canvas(page)
    page.focus("#step")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#now") == "after step 2 of 3"
    assert canvas(page) != before
    assert not errors


def test_every_painter_draws_in_a_browser(browser, tmp_path):
    rng = np.random.default_rng(0)
    tokens, targets = rng.integers(0, 4, (1, 9, 9)), rng.integers(0, 9, (1, 9, 9))
    answers = [Answer(targets[0], rng.random((2, 9, 9, 9)), np.arange(2.0), np.zeros(1))]
    exhibits = [
        dynamics.board_frames(puzzle, tokens, targets, answers) for puzzle in PUZZLES.values()
    ]
    layer = Evolution(None, rng.normal(size=(2, 1, 3, 3, 8)), rng.normal(size=(2, 1)))
    image = rng.integers(0, 256, (1, 6, 6, 3), dtype=np.uint8)
    exhibits.append(dynamics.group_frames(image, [layer], ["cat"]))
    for exhibit in exhibits:
        file = tmp_path / f"{exhibit.painter}.html"
        file.write_text(dynamics.section_html(exhibit))
        page, errors = open_page(browser, file)
        before = canvas(page)
        page.focus("#step")
        page.keyboard.press("ArrowLeft")
        assert not errors and canvas(page) != before, exhibit.painter


# --- The paper's results --------------------------------------------------------------------------


def rows(task: str, data: str = "", classes: int = 0) -> list[tuple[str, str, float]]:
    known = benchmark(task, data, classes)
    return rows_for(known) if known else []


def test_the_results_of_the_paper_for_a_run():
    assert rows("maze", "cifar10")[0] == ("WONN-trig L1T24", "0.396M", 76.2)
    assert rows("sudoku") == [("WONN-trig L1T16", "1.58M", 100.0)]
    assert ("WONN-mlp C256", "12.04M", 76.2) in rows("image", "cifar100", 100)
    assert [name for name, _, _ in rows("image", "imagenet", 1000)] == [
        "WONN-mlp C64-256",
        "WONN-mlp C256",
    ]
    assert ("WONN-trig C256", "11.87M", 82.22) in rows("image", "imagenet", 100)
    assert rows("image", "digits", 10) == rows("image", "imagenet", 7) == []
