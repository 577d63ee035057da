"""The growth of time and memory: plan, fits, tables and figure; tiny points are measured."""

import json
import re
import subprocess
import sys

import pytest

from experiments import growth, growth_report
from experiments.benchmarks.cases import card
from wonn_jax.train.card import freeze

PLAN = growth.sweeps("cpu", 2)


def point(name, settings, seconds=(2.0, 1.0, 4.0), **fields):
    measured = {
        "status": "measured",
        "seconds": list(seconds),
        "first_seconds": 9.0,
        "compile_seconds": 3.0,
        "temporaries": 4_000_000,
        "attention": 1_500_000,
        "arguments": 600_000,
        "output": 700_000,
        "peak_before_compile": 1,
        "peak_after_compile": 500_000_000,
        "resident_after_compile": 400_000_000,
        "peak_after_steps": 405_000_000,
        "device_peak": None,
    }
    about = {"sweep": name, "settings": settings, "date": "2026-01-02", "limit": 900.0}
    return about | measured | fields


def late(name, settings):
    about = {"sweep": name, "settings": settings, "date": "2026-01-03", "limit": 900.0}
    return about | {"status": "over the limit of 900 s"}


def results(points):
    return {
        "commands": ["python -m experiments.growth", "python -m experiments.growth --again"],
        "hardware": {"cpu": "Some CPU", "cores": 2, "gpu": None},
        "versions": {"jax": "0.10"},
        "base": PLAN["base"][0],
        "points": points,
    }


def every_point():
    """Time and memory that grow with the product of all sizes."""
    points = []
    for name in growth_report.VARIABLES:
        for settings in PLAN[name]:
            load = settings["side"] ** 2 * settings["steps"] * settings["batch"]
            load *= settings["width"]
            points.append(point(name, settings, [load / 1e6], temporaries=load, attention=load))
    return points


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


# --- What is measured -----------------------------------------------------------------------


def test_one_setting_grows_at_a_time():
    (base,) = PLAN["base"]
    fixed = {"mode": "train", "heads": 8, "precision": "float32", "backend": "cpu"}
    assert base == fixed | {"side": 30, "steps": 24, "batch": 2, "width": 128} | {
        "remat": 1,
        "devices": 2,
    }
    single = base | {"batch": 1, "devices": 1}
    assert PLAN["cells"] == [single | {"side": n} for n in (15, 30, 60, 120)]
    assert [x["side"] for x in PLAN["inference"]] == [15, 30, 60, 120, 240]
    assert all(x == single | {"mode": "inference", "side": x["side"]} for x in PLAN["inference"])
    steps = [base | {"remat": k, "steps": n} for k in (1, 8) for n in (8, 16, 24, 48, 96)]
    assert PLAN["steps"] == steps
    assert PLAN["batch"] == [base | {"devices": 1, "batch": n} for n in (1, 2, 4, 8, 16)]
    assert PLAN["width"] == [base | {"width": n} for n in (32, 64, 128, 256)]


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_an_accelerator_computes_in_bfloat16(backend):
    for points in growth.sweeps(backend, 1).values():
        assert {(x["precision"], x["devices"]) for x in points} == {("bfloat16", 1)}


@pytest.mark.parametrize("name", growth_report.VARIABLES)
@pytest.mark.parametrize("quick", [False, True])
def test_every_point_is_an_experiment_and_splits_over_its_devices(name, quick):
    for settings in growth.sweeps("cpu", 2, quick)[name]:
        assert settings["batch"] % settings["devices"] == 0
        names = ("steps", "width", "heads", "remat")
        overrides = {f"model.{name}": settings[name] for name in names}
        overrides |= {f"data.{name}": settings["side"] for name in ("height", "width")}
        freeze(card("maze", batch=settings["batch"], precision="float32", overrides=overrides))


@pytest.mark.parametrize(
    ("durations", "first", "counted"),
    [
        ([1.0] * 9, 1.0, [1.0] * 5),  # the greatest number
        ([3.0, 15.0, 6.0, 1.0], 3.0, [15.0, 6.0]),  # the budget
        ([15.0, 25.0, 1.0], 15.0, [25.0]),  # once at least
        ([20.0, 1.0], None, [20.0]),  # an expensive first one is what there is
    ],
)
def test_repetitions(durations, first, counted):
    now, left = [0.0], iter(durations)

    def step():
        now[0] += next(left)

    found = growth.timed(step, budget=20.0, most=5, clock=lambda: now[0])
    assert found == {"first_seconds": first, "seconds": counted}


# --- The sweep ------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command with a point that takes no time; what it measured, and the results."""
    path = tmp_path / "deep" / "growth.json"

    def run(*arguments, status="measured"):
        measured = []

        def run_point(settings, limit, quick):
            measured.append(settings)
            found = point("", settings) | {"status": status}
            for field in ("sweep", "settings", "date", "limit"):
                del found[field]
            return found | {"device": None}

        monkeypatch.setattr(growth, "run_point", run_point)
        arguments = [f"--output={path}", "--devices=2", *arguments]
        monkeypatch.setattr(sys, "argv", ["growth", *arguments])
        growth.sweep(growth.parse(arguments))
        return measured, json.loads(path.read_text())

    return run


def test_a_sweep_goes_on_where_it_was(run):
    measured, found = run("--only", "width", "cells")
    assert measured == PLAN["cells"] + PLAN["width"]
    assert [(x["sweep"], x["settings"]) for x in found["points"]] == [
        (name, settings) for name in ("cells", "width") for settings in PLAN[name]
    ]
    measured, found = run()  # the base is a point of two sweeps, and so is one 30×30 board
    done = PLAN["cells"] + PLAN["width"]
    rest = [x for name in ("steps", "batch", "inference") for x in PLAN[name] if x not in done]
    assert measured == rest and len(rest) == 18
    expected = [(name, settings) for name in growth_report.VARIABLES for settings in PLAN[name]]
    pairs = [(x["sweep"], x["settings"]) for x in found["points"]]
    assert len(pairs) == len(expected) and all(x in pairs for x in expected)
    assert len(found["commands"]) == 2
    measured, found = run("--resume")
    assert not measured and len(found["points"]) == len(expected)
    measured, found = run("--again", "--only", "width", "steps")
    assert measured == PLAN["steps"] + [x for x in PLAN["width"] if x not in PLAN["steps"]]
    measured, found = run("--again", "--only", "cells")
    assert measured == PLAN["cells"] and len(found["points"]) == len(expected)


def test_a_point_over_the_limit_is_measured_again_only_with_a_longer_one(run):
    only = ("--only", "width")
    late = {"status": "over the limit of 900 s"}
    assert len(run(*only, **late)[0]) == 4
    assert len(run(*only)[0]) == 0
    measured, found = run(*only, "--limit=1000")
    assert len(measured) == 4 and {x["status"] for x in found["points"]} == {"measured"}


def test_a_point_that_failed_is_measured_again(run):
    assert len(run("--only", "width", status="failed: no luck")[0]) == 4
    assert len(run("--only", "width")[0]) == 4


def test_results_of_another_machine_are_not_mixed(run, tmp_path):
    run("--only", "width")
    with pytest.raises(SystemExit, match=r"other base \(.*devices 2, now 1.*another --output"):
        run("--only", "width", "--devices=1")
    path = tmp_path / "deep" / "growth.json"
    found = json.loads(path.read_text())
    found["hardware"]["cpu"] = "Another CPU"
    path.write_text(json.dumps(found))
    with pytest.raises(SystemExit, match=r"other hardware \(cpu Another CPU, now"):
        run("--only", "width")
    with pytest.raises(SystemExit, match="points of GPU A, and this is GPU B"):
        growth._same_device({"gpu": "GPU A"}, "GPU B", path)


def test_a_point_that_takes_too_long_is_recorded():
    assert growth.run_point(PLAN["base"][0], 0.05) == {"status": "over the limit of 0.05 s"}


def test_what_was_known_before_the_limit_or_the_end_is_kept(monkeypatch, tmp_path):
    script = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(script))

    def worker(last):
        lines = ["#!/bin/sh", "cat > /dev/null", """echo '{"temporaries": 3}'""", last]
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)
        return growth.run_point(PLAN["base"][0], 2.0)

    found = worker("printf '{\"atten'; exec sleep 60")  # half a line
    assert found == {"temporaries": 3, "status": "over the limit of 2 s"}
    found = worker("kill -9 $$")
    assert found == {"temporaries": 3, "status": "ended by signal 9, for want of memory perhaps"}
    found = worker("echo 'error: no such thing' >&2; exit 1")
    assert found == {"temporaries": 3, "status": "failed: no such thing"}
    assert worker("""echo '{"status": "measured"}'""")["status"] == "measured"


def test_a_point_larger_than_the_memory_is_not_tried(monkeypatch):
    two, one = PLAN["width"][0], PLAN["cells"][0]
    monkeypatch.setattr(growth, "_from_proc", lambda file, field: 6_000_000_000)
    assert growth.shortage(two, 4_000_000_000) == "needs 8.0 GB, 6.0 GB were free"
    assert growth.shortage(one, 4_000_000_000) == ""
    monkeypatch.setattr(growth, "_from_proc", lambda file, field: None)  # no Linux
    assert growth.shortage(two, 10**15) == ""


def test_the_process_that_starts_the_others_is_light():
    code = (
        "import sys, experiments.growth; "
        "print([x for x in ('jax', 'numpy', 'matplotlib') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices=3"], "--devices=3 must be 1, or 2 on a CPU"),
        (["--devices=2", "--backend=gpu"], "--devices=2 must be 1, or 2 on a CPU"),
        (["--limit=0"], "--limit=0 must be above 0"),
        (["--again", "--resume"], "not allowed with"),
    ],
)
def test_commands_that_make_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit):
        growth.parse(arguments)
    assert message in capsys.readouterr().err


def test_quick_points_are_not_written_among_the_results():
    assert str(growth.parse([]).output) == "experiments/results/growth.json"
    assert growth.parse(["--quick"]).output is None


def test_a_tiny_sweep(tmp_path):
    path, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    arguments = ["--quick", "--only", "cells", "inference", f"--output={path}"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.growth", *arguments, f"--plot={picture}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    points = growth.load(path)["points"]
    assert [(x["sweep"], x["settings"]["side"]) for x in points] == [
        *(("cells", 4), ("cells", 8), ("inference", 4), ("inference", 8)),
    ]
    for x in points:
        assert x["status"] == "measured" and 1 <= len(x["seconds"]) <= growth.MOST
        assert min(x["seconds"]) > 0 and x["compile_seconds"] > 0
        assert x["peak_after_compile"] >= x["peak_before_compile"] > 10_000_000
        assert x["peak_after_steps"] >= x["resident_after_compile"] > 10_000_000
        assert x["arguments"] > 0 and x["output"] > 0
    small, large = points[:2]
    # A tokens × tokens array of every head, in float32, at 64 tokens.
    assert large["attention"] > 8 * 64**2 * 4 > small["attention"]
    assert all(x["temporaries"] > x["attention"] > 0 for x in points)
    forward = points[3]
    assert forward["temporaries"] < large["temporaries"]
    assert forward["attention"] < large["attention"]
    assert done.stdout.endswith(growth_report.tables(growth.load(path)))
    assert picture.stat().st_size > 10_000


# --- Exponents and tables -------------------------------------------------------------------


def test_fit_of_a_power():
    found = growth_report.fit([1, 2, 4], [3.0, 12.0, 48.0])
    assert found == pytest.approx((2.0, 3.0, 2.0))


def test_fit_with_a_constant_part_ends_steeper():
    sizes = [10, 100, 1000, 10_000]
    found = growth_report.fit(sizes, [1e4 + n**2 for n in sizes])
    assert found.exponent < found.last == pytest.approx(2.0, abs=0.01)


def test_fit_leaves_out_what_was_not_measured():
    whole = growth_report.fit([1, 2, 4], [1.0, 2.0, 8.0])
    assert growth_report.fit([8, 2, 16, 4, 1], [None, 2.0, 0, 8.0, 1.0]) == whole
    assert whole.last == pytest.approx(2.0)
    for values in ([1.0, None], [None, None], [0, 1.0]):
        assert growth_report.fit([1, 2], values) is None
    assert growth_report.fit([2, 2], [1.0, 2.0]) is None


def test_series_are_in_order_of_their_size():
    points = [point("steps", x) for x in reversed(PLAN["steps"])]
    one, chunks = growth_report.series(results(points))
    assert one.sizes == chunks.sizes == [8, 16, 24, 48, 96]
    assert (one.label, chunks.label) == ("recomputed step by step", "in chunks of 8")
    assert one.values("seconds") == [1.0] * 5


def test_tables():
    small, large, *rest = PLAN["cells"]
    points = [
        point("cells", small),
        point("cells", large, [16.0], temporaries=16_000_000, attention=24_000_000),
        late("cells", rest[0]) | {"compile_seconds": 5.0, "temporaries": 64_000_000},
        late("cells", rest[1]),
    ]
    text = growth_report.tables(json.loads(json.dumps(results(points))))
    assert text.startswith("2026-01-02 to 2026-01-03; 2 cores, Some CPU; jax 0.10.\n")
    assert "    python -m experiments.growth\n    python -m experiments.growth --again\n" in text
    assert "### Cells of the board: training\n" in text
    assert "Training, T 24, batch 1, C 128, 8 heads, remat 1, float32, 1 device.\n" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 8 and len({len(line) for line in lines}) == 1
    row = ["15² = 225", "1", "2", "3", "3.0", "4.0", "1.5", "0.6", "0.7", "5.0"]
    assert cells(lines[2]) == row
    assert cells(lines[4]) == ["60² = 3600", *"–––", "5.0", "64.0", *"––––"]
    assert cells(lines[5]) == ["120² = 14400", *"–––––––––"]
    # 16-fold time, 4-fold memory and 16-fold attention of 4 times the cells.
    assert cells(lines[6]) == ["exponent", "2.00", "", "", "", "1.00", "2.00", "", "", ""]
    assert cells(lines[7])[0] == "exponent, last two" and cells(lines[7])[5] == "1.00"
    missing = "60² = 3600: over the limit of 900 s; 120² = 14400: over the limit of 900 s."
    assert f"Not measured: {missing}" in text


def test_the_peak_of_a_gpu_is_what_was_allocated_there():
    text = growth_report.tables(results([point("width", PLAN["width"][0], device_peak=7_000_000)]))
    assert re.search(r"\| +32 \|.* 7\.0 \|\n", text)
    # One point has no exponent.
    assert cells(next(x for x in text.splitlines() if "last two" in x))[1] == "–"


def test_show_measures_nothing(tmp_path, capsys, monkeypatch):
    path = tmp_path / "growth.json"
    measured = results(every_point())
    path.write_text(json.dumps(measured))
    monkeypatch.setattr(growth, "run_point", None)
    monkeypatch.setattr(sys, "argv", ["growth", f"--show={path}"])
    growth.main()
    assert capsys.readouterr().out == growth_report.tables(measured)
    path.write_text("{}")
    with pytest.raises(SystemExit, match="holds no results of this command: fields are missing"):
        growth.main()


def test_figure(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "close", lambda figure: None)
    late_ones = [late("inference", x) for x in PLAN["inference"][-1:]]
    points = [x for x in every_point() if x["settings"]["side"] != 240] + late_ones
    growth_report.draw(results(points), tmp_path / "deep" / "growth.png")
    figure = plt.gcf()
    assert len(figure.axes) == 8
    for axis in figure.axes:
        for text in axis.get_legend().get_texts():
            assert re.search(r"\^\{1\.00\}\$, last two \$.\^\{1\.00\}\$", text.get_text())
        # Legend and lines are apart.
        below = axis.get_legend().get_window_extent().y0
        data = [line.get_xydata() for line in axis.lines if line.get_xydata().size]
        assert max(axis.transData.transform(xy)[:, 1].max() for xy in data) < below
    labels = [axis.get_xlabel() for axis in figure.axes[4:]]
    assert labels[0] == "cells of the board, N" and labels[3] == "channels, C"
    with pytest.raises(SystemExit, match="no points to draw"):
        growth_report.draw(results([]), tmp_path / "none.png")
