"""Faults of machines and people: what runs and commands make of them.

    python -m experiments.faults --seed=1
    python -m experiments.faults --only=kills --kills=5

Runs are killed at random moments, their checkpoints damaged, their disks filled; commands get
hundreds of bad inputs, drawn by Hypothesis. All is drawn from the seed. Each case is written down
when it has ended, and the same command goes on after an interruption, with cases of faults first.
`experiments/results/faults.md` has the tables of all seeds in the workdir; exit status 1: faults.
"""

import argparse
import sys
from pathlib import Path

from experiments.faults import dynamics, kills, storage
from experiments.faults.campaign import Campaign
from experiments.faults.inputs import part as inputs
from experiments.faults.table import write_table

PARTS = ("kills", "checkpoints", "disks", "inputs", "dynamics")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.faults", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--kills", type=int, default=50, help="of runs, altogether")
    parser.add_argument("--inputs", type=int, default=300, help="bad inputs, altogether")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, default: %(default)s")
    parser.add_argument("--again", action="store_true", help="forget earlier cases of this seed")
    parser.add_argument("--workdir", type=Path, default=Path("runs/faults"))
    parser.add_argument("--output", type=Path, default=Path("experiments/results/faults.md"))
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := [x for x in options.only if x not in PARTS]:
        parser.error(f"--only={unknown[0]} is no part; there are {', '.join(PARTS)}.")
    return options


def main() -> int:
    options = parse()
    try:
        folder = options.workdir / f"seed-{options.seed}"
        campaign = Campaign(folder, options.seed, again=options.again)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if "kills" in options.only:
        kills.run(campaign, options.kills)
    if "checkpoints" in options.only:
        storage.run_checkpoints(campaign)
    if "disks" in options.only:
        storage.run_disks(campaign)
    if "inputs" in options.only:
        inputs.run(campaign, options.inputs)
    if "dynamics" in options.only:
        dynamics.run(campaign)
    write_table(options.workdir, options.output)
    faults = campaign.faults()
    print("\n".join(faults) or "no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
