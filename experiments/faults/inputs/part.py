"""The part of the campaign that tries bad inputs."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

from experiments.faults.campaign import Campaign, Case
from experiments.faults.inputs.kinds import KINDS
from experiments.faults.reference import undisturbed
from experiments.faults.runs import ROOT


def run(campaign: Campaign, count: int) -> None:
    """Tries `count` inputs, as many of each kind."""
    for number, kind in enumerate(KINDS):
        share = (count + number) // len(KINDS)
        case = functools.partial(_search, campaign, kind, share)
        campaign.run(f"inputs/{kind}", case)


def _search(campaign: Campaign, kind: str, count: int, _: Path) -> Case:
    folder = campaign.folder / "searches"
    if not (folder / "bases" / "weights.npz").exists():
        shutil.rmtree(folder / "bases", ignore_errors=True)
        workdir = undisturbed(campaign.folder, "mazes").workdir
        _python("bases", str(folder / "bases"), str(workdir))
    # In a process that has not computed anything, and can be forked.
    text = _python(
        *("search", kind, f"--seed={campaign.seed}", f"--examples={count}"),
        f"--folder={folder / kind.replace(' ', '-')}",
    )
    found = json.loads(text.splitlines()[-1])
    numbers = {"inputs": sum(found["numbers"].values())} | found["numbers"]
    words = ", ".join(f"{n} {name}" for name, n in found["numbers"].items())
    return Case(f"{kind}, bad ones", words, found["faults"], numbers)


def _python(module: str, *arguments: str) -> str:
    """Runs one of the modules here; what it printed."""
    command = [sys.executable, "-m", f"experiments.faults.inputs.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
