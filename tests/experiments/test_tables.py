"""The paper's tables beside what was measured: no number without its file."""

import json

import pytest

from experiments import tables
from wonn_jax.tools.paper import results

PAPER = results()
RESULT = {"accuracy": 75.5, "command": "c", "hardware": "h", "date": "d"}


def test_without_measurements_every_row_says_so(tmp_path, capsys):
    assert tables.main(["--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith("| ") and "paper, %" not in line]
    rows = [line for line in rows if "---" not in line]
    assert len(rows) > 60 and all("not measured" in line for line in rows)
    assert "76.20" in text and "95.24 ± 0.12" in text


def test_a_measurement_stands_beside_its_row(tmp_path, capsys):
    row = ["cifar", "WONN-mlp C128", "cifar100_acc"]
    (tmp_path / "mine.json").write_text(json.dumps(RESULT | {"paper_row": row}))
    (tmp_path / "other.json").write_text("[1]")
    assert tables.main(["--results", str(tmp_path)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "mine.json" in x]
    assert "73.77" in line and "75.50" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**RESULT, "paper_row": ["maze_hard", "nobody"]}, "no row 'nobody'"),
        ({**RESULT, "paper_row": ["nowhere", "x"]}, "in 'nowhere'"),
        ({**RESULT, "paper_row": ["cifar", "ResNet-18"]}, "must end with one of cifar10_acc"),
        ({"paper_row": ["maze_hard", "HRM"], "accuracy": 1}, "lacks command, hardware, date"),
    ],
)
def test_bad_files(tmp_path, capsys, content, message):
    (tmp_path / "bad.json").write_text(json.dumps(content))
    assert tables.main(["--results", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="bad.json"):
        tables.measurements(tmp_path, PAPER)


def test_the_results_of_the_project_are_readable():
    tables.measurements(tables.RESULTS, PAPER)
