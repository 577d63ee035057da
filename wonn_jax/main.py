"""Command line: `python -m wonn_jax.main --config=configs/maze_hard.py:small`. Short on purpose."""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from wonn_jax.common.folders import naming_full_disk, parse_path
from wonn_jax.evaluators.run import run_eval
from wonn_jax.parallel import hosts
from wonn_jax.tools import environment
from wonn_jax.tools.describe import parse_target, run_describe
from wonn_jax.tools.flags import check_names, check_overrides, define_card, parse_flags
from wonn_jax.tools.launch import fail, prepare_devices, quiet_libraries
from wonn_jax.train.card import freeze
from wonn_jax.train.loop import Interrupted, train

_CONFIG = define_card()
_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder of the run, gs://BUCKET/… too. Default: runs/ and the experiment's name."
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "describe"], "What to do.")
_PLATFORM = flags.DEFINE_string(
    "platform",
    "",
    "GPU to compile for with --mode=describe, which need not be there: a100, h100, h200 or b200; "
    "h100x8 for eight.",
)
_WEIGHTS = flags.DEFINE_string("weights", "", "PyTorch weights to evaluate (--mode=eval).")
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    None,
    ["auto", "on", "off"],
    "Several hosts: 'auto' where a cluster tells JAX who is who (TPU pods, Slurm, Open MPI, "
    "Kubernetes), 'on' with the three flags below, of which MPI, Flux or torchrun give the last "
    "two. Default: off, but in a job of several tasks, where it must be said.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes.")
_JOIN_SECONDS = flags.DEFINE_float(
    "join_seconds", hosts.JOIN_SECONDS, "Within which all processes must have started.", 0, 86400
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error arose.")


def main(argv: list[str]) -> None:
    quiet_libraries()
    try:
        if len(argv) > 1:
            raise ValueError(
                f"Not understood: {' '.join(argv[1:])}. Settings are --config.NAME=VALUE."
            )
        if _WEIGHTS.value and _MODE.value != "eval":
            raise ValueError(
                "--weights has no effect on --mode=train or describe; use --mode=eval."
            )
        if _PLATFORM.value and _MODE.value != "describe":
            raise ValueError(
                f"--platform has no effect on --mode={_MODE.value}; use --mode=describe."
            )
        target = parse_target(_PLATFORM.value) if _PLATFORM.value else None
        overrides = config_flags.get_override_values(flags.FLAGS["config"])
        check_names(overrides)
        config = freeze(_CONFIG.value)
        check_overrides(config, overrides)
        if target:
            environment.use_cpu()  # a GPU of this machine may be busy, and is not asked
        workdir = parse_path(_WORKDIR.value or Path("runs", _name()))
        prepare_devices(
            config,
            _DISTRIBUTED.value,
            _COORDINATOR.value,
            _PROCESS_ID.value,
            _NUM_PROCESSES.value,
            join_seconds=_JOIN_SECONDS.value,
            mode=_MODE.value,
        )
        if _MODE.value == "train":
            with naming_full_disk(workdir):
                train(config, workdir)
        elif _MODE.value == "eval":
            run_eval(config, workdir, _WEIGHTS.value)
        else:
            run_describe(config, target)
        sys.stdout.flush()
        hosts.finish()
    except Interrupted as interrupted:
        print(f"{interrupted}, saved; the same command goes on from there.", file=sys.stderr)
        hosts.finish(128 + interrupted.number)
        sys.exit(128 + interrupted.number)
    except KeyboardInterrupt:
        print("stopped; the same command begins again.", file=sys.stderr)
        hosts.leave(130)
    except Exception as error:
        fail(error, traceback=_TRACEBACK.value)


def _name() -> str:
    """Of the experiment: of the card and its preset."""
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).name
    return name.replace(".py", "").replace(":", "-")


if __name__ == "__main__":
    environment.prepare()
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse_flags)
