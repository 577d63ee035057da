"""How time and memory of the maze model grow with the board, T, the batch and the width.

    python -m experiments.growth
    python -m experiments.growth --only cells inference --plot growth.png

One quantity is varied at a time from a base (30×30, T 24, 2 boards, C 128, 8 heads): `cells` and
`batch` train on one device, `cells` with one board; `steps` and `width` train on two CPU devices
with a board each, `steps` with recomputation of every step and in chunks of 8; `inference` is an
evaluation step of one board, including metrics. float32 on a CPU; bfloat16 on a GPU or TPU, where
one device is used.

Every point runs in its own process for at most `--limit` seconds; one that takes longer, or needs
more memory than is free, is recorded as such. A step is repeated for 20 s, at most 5 times; a first
step of less than 20 s is a warm-up and not counted. The results are written after every point, and
the same command continues an interrupted sweep; `--again` repeats the measurements.

    python -m experiments.growth --show experiments/results/growth.json --plot growth.png

prints the tables of a file and draws its figure. Exponents are the slopes of a line through the
logarithms of all points and of the last two, where constant costs weigh less.
"""

import argparse
import datetime
import importlib.metadata
import json
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Only the standard library, here and in the modules imported here: a process inherits the peak
# memory of the one that starts it.
from experiments.benchmarks.cases import card, rows
from experiments.benchmarks.results import GIGA
from experiments.benchmarks.sides import environment, host_peak, replies
from experiments.benchmarks.steps import cores, cpu_name
from experiments.growth_report import VARIABLES, Point, Settings, describe, draw, tables

BUDGET = 20.0  # seconds of repeated steps, for each point
MOST = 5  # repetitions
PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
ONE_CHIP = "TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1 TPU_VISIBLE_CHIPS=0"


def sweeps(backend: str, devices: int, quick: bool = False) -> dict[str, list[Settings]]:
    """The points of every sweep by its name, and their starting point, 'base'."""
    precision = "float32" if backend == "cpu" else "bfloat16"
    base: Settings = {"mode": "train", "side": 30, "steps": 24, "batch": 2, "width": 128}
    base |= {"heads": 8, "remat": 1, "precision": precision, "backend": backend}
    sides, longest, chunks = [15, 30, 60, 120], [240], [1, 8]
    steps, batches, widths = [8, 16, 24, 48, 96], [1, 2, 4, 8, 16], [32, 64, 128, 256]
    if quick:
        base |= {"side": 4, "steps": 2, "batch": 1, "width": 16}
        sides, longest, chunks = [4, 8], [], [1]
        steps, batches, widths = [2, 4], [1, 2], [16, 32]
    one = base | {"devices": 1}
    base |= {"devices": 1 if quick else devices}
    single = one | {"batch": 1}
    return {
        "base": [base],
        "cells": [single | {"side": n} for n in sides],
        "steps": [base | {"remat": k, "steps": n} for k in chunks for n in steps],
        "batch": [one | {"batch": n} for n in batches],
        "width": [base | {"width": n} for n in widths],
        "inference": [single | {"mode": "inference", "side": n} for n in sides + longest],
    }


# --- The process of a point -----------------------------------------------------------------


def timed(
    step: Callable[[], Any],
    budget: float = BUDGET,
    most: int = MOST,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Seconds of at least one call of `step`; a first call shorter than `budget` is not counted."""

    def once() -> float:
        began = clock()
        step()
        return clock() - began

    first = once()
    if first >= budget:
        return {"first_seconds": None, "seconds": [first]}
    seconds: list[float] = []
    while not seconds or (len(seconds) < most and sum(seconds) < budget):
        seconds.append(once())
    return {"first_seconds": first, "seconds": seconds}


def _from_proc(file: str, field: str) -> int | None:
    """A field of a file in /proc, bytes; None if there is no such file or field."""
    try:
        lines = Path("/proc", file).read_text().splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{field}:")), None)


def _forget_peak() -> None:
    """Resets the peak memory of this process, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def shortage(settings: Settings, temporaries: int) -> str:
    """The status of a point if memory does not suffice for its temporaries; '' if it does.

    Running it anyway, the system would kill this process or another.

    Args:
      settings: of the point.
      temporaries: of the compiled step on a device, bytes.
    """
    needed, available = settings["devices"] * temporaries, _from_proc("meminfo", "MemAvailable")
    if available is None or needed <= available:
        return ""
    return f"needs {needed / GIGA:.1f} GB, {available / GIGA:.1f} GB were free"


def attention_temporaries(batch: int, tokens: int, settings: Settings) -> int | None:
    """Temporaries of one compiled call of attention on `batch` boards, bytes.

    With its gradient if the settings train, otherwise forward only.
    """
    import jax
    import jax.numpy as jnp

    from wonn_jax.kernels.attention import attention
    from wonn_jax.parallel.mesh import compiler_options

    heads = settings["heads"]
    shape = (batch, tokens, heads, settings["width"] // heads)
    array = jax.ShapeDtypeStruct(shape, jnp.dtype(settings["precision"]))

    def forward(query: Any, key: Any, value: Any, weight: Any) -> Any:
        out = attention(query, key, value, implementation="auto")
        # Weighted, since the compiler would fold the gradient of a plain sum into a constant.
        return (out * weight).astype(jnp.float32).sum() if training else out

    training = settings["mode"] == "train"
    function = jax.value_and_grad(forward, argnums=(0, 1, 2)) if training else forward
    compiled = jax.jit(function, compiler_options=compiler_options()).lower(*[array] * 4).compile()
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes if analysis else None


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Measures a point and yields results as they arrive, so that a time limit keeps the first."""
    import jax

    cpu = settings["backend"] == "cpu"
    jax.config.update("jax_platforms", PLATFORMS[settings["backend"]])
    if cpu:
        jax.config.update("jax_num_cpu_devices", settings["devices"])

    from wonn_jax.config import to_dict
    from wonn_jax.evaluators.accuracy import make_accuracy_step
    from wonn_jax.parallel import mesh as sharding
    from wonn_jax.train.card import freeze
    from wonn_jax.train.experiment import CompiledStep, Experiment

    if jax.device_count() != settings["devices"]:
        advice = f"; begin the command with {ONE_CHIP}." if settings["backend"] == "tpu" else "."
        raise ValueError(
            f"JAX finds {jax.device_count()} devices and one point of the sweep takes "
            f"{settings['devices']}{advice}"
        )
    yield {"device": None if cpu else jax.devices()[0].device_kind}
    side = settings["side"]
    fields = {name: settings[name] for name in ("steps", "width", "heads", "remat")}
    overrides = {"data.height": side, "data.width": side}
    overrides |= {f"model.{name}": value for name, value in fields.items()}
    common = {"batch": settings["batch"], "precision": settings["precision"]}
    config = freeze(card("maze", **common, overrides=overrides))
    experiment = Experiment(config, examples=50_000).check()
    state: Any = experiment.initial_state()
    batch = sharding.put_batch(rows(to_dict(config)), experiment.mesh)
    training = settings["mode"] == "train"
    step = experiment.train_step if training else CompiledStep(make_accuracy_step(experiment))
    if not training:
        state = state.variables("raw")  # without optimizer state and EMA
    jax.block_until_ready((state, batch))

    before = host_peak()
    analysis = step.compile(state, batch).memory_analysis()
    yield {
        "compile_seconds": step.seconds,
        "temporaries": analysis.temp_size_in_bytes if analysis else None,
        "arguments": analysis.argument_size_in_bytes if analysis else None,
        "output": analysis.output_size_in_bytes if analysis else None,
        "peak_before_compile": before,
        "peak_after_compile": host_peak(),
    }
    share = settings["batch"] // settings["devices"]
    yield {"attention": attention_temporaries(share, side * side, settings)}

    if cpu and analysis and (status := shortage(settings, analysis.temp_size_in_bytes)):
        yield {"status": status}
        return
    _forget_peak()
    resident = _from_proc("self/status", "VmRSS") or host_peak()

    def once() -> None:
        nonlocal state
        if training:
            state, result = step(state, batch)
        else:
            result = step(state, batch)
        jax.block_until_ready((state, result))

    try:
        yield timed(once)
    except jax.errors.JaxRuntimeError as error:
        yield {"status": f"failed: {str(error).splitlines()[0]}"}
        return
    statistics_ = jax.devices()[0].memory_stats() or {}
    yield {
        "status": "measured",
        "resident_after_compile": resident,
        "peak_after_steps": host_peak(),
        "device_peak": statistics_.get("peak_bytes_in_use"),
    }


def work() -> None:
    """Reads settings from standard input and prints what `measure` yields, one line each."""
    with replies() as stream:
        try:
            for part in measure(json.loads(sys.stdin.read())):
                print(json.dumps(part), file=stream, flush=True)
        except (ValueError, RuntimeError) as error:
            raise SystemExit(f"error: {error}") from error


# --- The sweep ------------------------------------------------------------------------------


def run_point(settings: Settings, limit: float, quick: bool = False) -> dict[str, Any]:
    """Results of a process of its own within `limit` seconds, and their `status`."""
    variables = environment()
    if quick:  # nearly all of the time is compilation
        variables["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    errors = b""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.growth", "--worker"],
            input=json.dumps(settings).encode(),
            capture_output=True,
            env=variables,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        output, status = error.stdout or b"", f"over the limit of {limit:g} s"
    else:
        output, errors = done.stdout, done.stderr
        last = (errors.decode(errors="replace").strip() or "no message").splitlines()[-1]
        status = f"failed: {last.removeprefix('error: ')}"
        if done.returncode < 0:
            status = f"ended by signal {-done.returncode}"
            status += ", for want of memory perhaps" * (done.returncode == -signal.SIGKILL)
    found: dict[str, Any] = {"status": status}
    complete = output[: output.rfind(b"\n") + 1]
    for line in complete.splitlines():
        found |= json.loads(line)
    if found["status"].startswith("failed"):
        sys.stderr.write(errors.decode(errors="replace"))
    return found


def finished(point: Point, limit: float) -> bool:
    """Whether a point need not be measured again."""
    late = point["status"].startswith("over the limit") and point["limit"] >= limit
    return point["status"] == "measured" or late


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Measures the points that the file lacks, and writes it after each point.

    Raises:
      SystemExit: the file is of another machine, other versions or another base.
    """
    plan = sweeps(options.backend, options.devices, options.quick)
    results = _begin(plan["base"][0], options.output)
    command = f"python -m experiments.growth {shlex.join(sys.argv[1:])}".strip()
    if command not in results["commands"]:
        results["commands"].append(command)
    if options.again:
        results["points"] = [x for x in results["points"] if x["sweep"] not in options.only]
    # Two sweeps may share a point.
    known = {} if options.again else {_key(x["settings"]): x for x in results["points"]}

    for name, settings in [(key, x) for key in options.only for x in plan[key]]:
        point = known.get(_key(settings))
        if point is None or not finished(point, options.limit):
            print(f"{name}: {describe(settings)}", end=" … ", flush=True)
            point = {"settings": settings, "date": datetime.date.today().isoformat()}
            point |= {"limit": options.limit}
            point |= run_point(settings, options.limit, options.quick)
            _same_device(results["hardware"], point.pop("device", None), options.output)
            seconds = point.get("seconds")
            print(f"{min(seconds):.4g} s" if seconds else point["status"], flush=True)
            known[_key(settings)] = point
        others = [x for x in results["points"] if (x["sweep"], x["settings"]) != (name, settings)]
        results["points"] = [*others, point | {"sweep": name}]
        if options.output:
            save(results, options.output)
    return results


def _key(settings: Settings) -> str:
    return json.dumps(settings, sort_keys=True)


def _begin(base: Settings, path: Path | None) -> dict[str, Any]:
    """The results in the file, if they are of this machine, versions and base; else empty ones."""
    packages = ("jax", "jaxlib", "flax")
    versions = {"python": platform.python_version()}
    new: dict[str, Any] = {
        "commands": [],
        "hardware": {"cpu": cpu_name(), "cores": cores(), "gpu": None},
        "versions": versions | {name: importlib.metadata.version(name) for name in packages},
        "base": base,
        "points": [],
    }
    if path is None or not path.exists():
        return new
    old = load(path)
    for name in ("hardware", "versions", "base"):
        # The name of a GPU is known only after the first point.
        changed = [
            f"{key} {old[name].get(key)}, now {value}"
            for key, value in new[name].items()
            if key != "gpu" and value != old[name].get(key)
        ]
        if changed:
            raise SystemExit(
                f"--output={path} has points of other {name} ({'; '.join(changed)}); use another "
                "--output, or remove the file to begin anew."
            )
    return old


def _same_device(hardware: dict[str, Any], found: str | None, path: Path | None) -> None:
    """Records the accelerator; None for a CPU, or a point that failed before it was known."""
    noted = hardware["gpu"]
    if noted and found and noted != found:
        raise SystemExit(
            f"--output={path} has points of {noted}, and this is {found}; use another --output."
        )
    hardware["gpu"] = found or noted


def load(path: Path) -> dict[str, Any]:
    """Results from a file.

    Raises:
      SystemExit: it holds none.
    """
    try:
        results = json.loads(path.read_text())
        if not results.keys() >= {"commands", "hardware", "versions", "base", "points"}:
            raise ValueError("fields are missing")
    except (OSError, ValueError, AttributeError) as error:
        raise SystemExit(f"{path} holds no results of this command: {error}.") from error
    return results


def save(results: dict[str, Any], path: Path) -> None:
    """Replaces the file atomically: an interruption leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(results, indent=1) + "\n")
    fresh.replace(path)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, metavar="RESULTS.json")
    parser.add_argument("--only", nargs="+", choices=VARIABLES, default=list(VARIABLES))
    parser.add_argument("--backend", choices=PLATFORMS, default="cpu")
    parser.add_argument("--devices", type=int, help="of steps and width; CPU: 2, else 1")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of a point")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the file; the default")
    again.add_argument("--again", action="store_true", help="measure what is in the file anew")
    parser.add_argument("--show", type=Path, metavar="RESULTS.json", help="print its tables")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the figure too")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.only = [name for name in VARIABLES if name in options.only]
    if options.output is None and not options.quick:
        options.output = Path("experiments/results/growth.json")
    if options.devices is None:
        options.devices = min(2, cores()) if options.backend == "cpu" else 1
    if options.devices not in (1, 2) or (options.devices == 2 and options.backend != "cpu"):
        parser.error(
            f"--devices={options.devices} must be 1, or 2 on a CPU: the base has a batch of 2."
        )
    if not options.limit > 0:
        parser.error(f"--limit={options.limit:g} must be above 0.")
    return options


def main() -> None:
    options = parse()
    if options.worker:
        work()
        return
    results = load(options.show) if options.show else sweep(options)
    print(tables(results), end="")
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
