"""The cases of a campaign, kept in a file, so that an interrupted one goes on."""

import hashlib
import json
import platform
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.faults.runs import ROOT


@dataclass(frozen=True)
class Case:
    """What a case came to.

    what: was done.
    found: what happened, in a few words.
    faults: what should have been otherwise; none if all was as required.
    numbers: to be added up, such as kills and inputs, by name.
    """

    what: str
    found: str
    faults: Sequence[str] = ()
    numbers: dict[str, int] = field(default_factory=dict)


class Campaign:
    """Runs cases, those that came to no good or are missing; writes each down when it has ended.

    Args:
      folder: where all of it lies, also what cases with faults left.
      seed: of all that is drawn.
      again: whether to forget earlier cases.

    Raises:
      ValueError: the cases in the folder are of other code.
    """

    def __init__(self, folder: Path, seed: int, *, again: bool = False):
        self.folder = folder.resolve()
        if again:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.seed = seed
        self.file = self.folder / "cases.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.about = {"code": code(), "python": platform.python_version(), "seed": seed}
        self.cases: dict[str, dict[str, Any]] = {}
        if self.file.exists():
            kept = json.loads(self.file.read_text())
            if kept["about"] != self.about:
                raise ValueError(
                    f"{self.file} has cases of {kept['about']}, which say nothing of "
                    f"{self.about}. Use --again to begin anew, or another --workdir."
                )
            self.cases = kept["cases"]

    def run(self, name: str, case: Callable[[Path], Case]) -> None:
        """Runs a case in an empty folder of its own, which is kept if there are faults."""
        if name in self.cases and not self.cases[name]["faults"]:
            return
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        began = time.monotonic()
        try:
            found = case(place)
        except Exception as error:  # the campaign goes on, and says so
            lines = traceback.format_exc().strip().splitlines()
            place_of = next((x.strip() for x in reversed(lines) if x.startswith("  File")), "")
            found = Case(name, "the case itself failed", [f"{error!r} ({place_of})"])
        self.cases[name] = asdict(found) | {"seconds": round(time.monotonic() - began, 1)}
        if not found.faults:
            shutil.rmtree(place)
        self.file.with_suffix(".new").write_text(
            json.dumps({"about": self.about, "cases": self.cases}, indent=1, ensure_ascii=False)
        )
        self.file.with_suffix(".new").replace(self.file)
        sign = "FAULT " if found.faults else "as required "
        print(f"{name}: {found.what}: {found.found}; {sign}{'; '.join(found.faults)}", flush=True)

    def total(self, part: str, number: str) -> int:
        """Sum of a number over the cases of a part."""
        cases = [x for name, x in self.cases.items() if name.startswith(f"{part}/")]
        return sum(case["numbers"].get(number, 0) for case in cases)

    def faults(self) -> list[str]:
        """The faults of all cases, with the names of these."""
        return [f"{name}: {x}" for name, case in self.cases.items() for x in case["faults"]]


def code() -> str:
    """A digest of the code that is put to the test, and of this campaign."""
    digest = hashlib.sha256()
    for folder in ("wonn_jax", "configs", "experiments/faults"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
