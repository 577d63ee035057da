"""Runs that are killed again and again, and then equal the run that nobody disturbed.

A chain is one run: it is killed with SIGKILL and started again up to `MOST` times, then it may
end. A kill waits for a phase, which the run's output and files show, and then for a part of it
that is drawn; one 'between files' comes from within, before the n-th change of a file in the
workdir. Of two processes one is killed, the other must end by itself, and both are started again.
"""

import functools
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults.campaign import Campaign, Case
from experiments.faults.reference import phase_of, reaches, start, undisturbed
from experiments.faults.runs import KINDS, Attempt, differences, written, wrong_batches

BETWEEN = "between files"
PHASES = ("loading", "compiling", "in the step", "evaluating", "saving", BETWEEN)
MOST = 6  # kills of a chain
SHARES = {"mazes": 2, "digits": 1, "mazes, two processes": 1}
ALONE = 100.0
"""Seconds within which a process ends whose partner was killed."""


class Kill(NamedTuple):
    """phase: to wait for. part: of it that passes first, 0 to 1. victim: of the processes."""

    phase: str
    part: float
    victim: int


class Chain(NamedTuple):
    """kind: of run. kept: whether compiled programs are kept from one attempt to the next."""

    kind: str
    kept: bool
    kills: Sequence[Kill]


def plan(seed: int, number: int) -> Chain:
    """A chain, drawn."""
    rng = random.Random(f"{seed}, kills, {number}")
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    phases = rng.choices(PHASES, k=rng.randint(3, MOST))
    # Process 0 alone changes files.
    processes = [1 if phase == BETWEEN else KINDS[kind].processes for phase in phases]
    kills = [
        Kill(phase, rng.random(), rng.randrange(n))
        for phase, n in zip(phases, processes, strict=True)
    ]
    return Chain(kind, rng.random() < 0.5, kills)


def run(campaign: Campaign, kills: int) -> None:
    """Chains until there were as many kills."""
    number = 0
    while (left := kills - campaign.total("kills", "kills")) > 0:
        chain = plan(campaign.seed, number)
        chain = chain._replace(kills=chain.kills[:left])
        campaign.run(f"kills/{number}", functools.partial(disturb, campaign.folder, chain))
        number += 1


# --- A chain --------------------------------------------------------------------------------------


def disturb(folder: Path, chain: Chain, place: Path) -> Case:
    """Kills and starts a run as planned, lets it end, and compares all that it wrote."""
    reference = undisturbed(folder, chain.kind)
    attempts: list[Attempt] = []
    hit: list[str] = []
    faults: list[str] = []
    workdir, cache = place / "run", str(place / "compiled") if chain.kept else ""

    def again(**order: Any) -> Attempt:
        logs = place / f"attempt-{len(attempts)}"
        attempts.append(start(folder, chain.kind, workdir, logs, cache, **order))
        return attempts[-1]

    for kill in chain.kills:
        if kill.phase == BETWEEN:
            attempt = again(kill_at=1 + int(kill.part * reference.changes))
        else:
            attempt = again()
        phase = _strike(attempt, workdir, kill, reference.seconds)
        if not phase:  # it came to its end
            break
        hit.append(phase)
        statuses = attempt.wait(ALONE)
        if statuses[kill.victim] != -signal.SIGKILL or 0 in statuses:
            faults.append(f"after a kill while {phase}, the processes ended with {statuses}")
    else:
        again()
    statuses = attempts[-1].wait()
    if any(statuses):
        faults.append(f"ended with {statuses}: {attempts[-1].last_words()}")
    else:
        faults += differences(written(workdir), reference.written)
        faults += _wrong_batches(attempts, reference.attempt)
    killed = ", ".join(f"{n} × {phase}" for phase, n in Counter(hit).items()) or "never"
    what = chain.kind + (", compiled programs kept" if chain.kept else "")
    numbers = {"kills": len(hit)} | {f"killed {phase}": n for phase, n in Counter(hit).items()}
    return Case(what, f"killed {killed}", faults, numbers)


def _strike(attempt: Attempt, workdir: Path, kill: Kill, seconds: dict[str, float]) -> str:
    """Kills a process in the phase; what it was doing then, '' if the run ended before."""
    if kill.phase == BETWEEN:
        return kill.phase if attempt.wait()[0] == -signal.SIGKILL else ""
    reaches(attempt, workdir, kill.phase)
    time.sleep(kill.part * seconds.get(kill.phase, 0.1))
    if not attempt.running():
        return ""
    phase = phase_of(attempt, workdir)
    attempt.kill(kill.victim)
    return phase


def _wrong_batches(attempts: Sequence[Attempt], undisturbed: Attempt) -> list[str]:
    faults = []
    for index in range(len(undisturbed.processes)):
        lost, repeated = wrong_batches(attempts, undisturbed, index)
        faults += [f"batches of the steps {lost} lost"] * bool(lost)
        faults += [f"batches of the steps {repeated} repeated"] * bool(repeated)
    return faults
