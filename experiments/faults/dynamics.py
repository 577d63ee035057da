"""The part of the campaign that tries the functions of `wonn_jax.dynamics`.

The tests of their properties, with more examples than in the tests, and others for each seed.
"""

import re
import subprocess
import sys
from pathlib import Path

from experiments.faults.campaign import Campaign, Case
from experiments.faults.runs import ROOT

FILE = "tests/dynamics/test_properties.py"


def run(campaign: Campaign) -> None:
    """All properties, as one case."""
    campaign.run("dynamics/properties", lambda place: _properties(campaign.seed, place))


def _properties(seed: int, place: Path) -> Case:
    """Runs the tests with Hypothesis's profile 'campaign', see `tests/conftest.py`."""
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-rf", FILE]
    command += ["--hypothesis-profile=campaign", f"--hypothesis-seed={seed}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (place / "printed").write_text(done.stdout + done.stderr)
    found = re.search(r"(\d+) passed", done.stdout)
    passed = int(found[1]) if found else 0
    faults = re.findall(r"^(?:FAILED|ERROR) (.*)", done.stdout, re.MULTILINE)
    if done.returncode and not faults:
        faults = [f"pytest ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
    numbers = {"properties": passed + len(faults)}
    return Case("shapes, types and extreme values", f"{passed} properties hold", faults, numbers)
