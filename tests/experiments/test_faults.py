"""The campaign of faults: what it draws, what it notices, and a few of its cases."""

import json
import random
import shutil
import signal
import struct
from collections import Counter

import pytest
from tensorboardX import SummaryWriter

from experiments.faults import kills, runs, storage, table
from experiments.faults.campaign import Campaign, Case
from experiments.faults.sentence import wrong_ending

# --- Runs that are killed -------------------------------------------------------------------------


def test_chains_are_drawn_from_the_seed():
    chains = [kills.plan(1, number) for number in range(40)]
    assert chains == [kills.plan(1, number) for number in range(40)]
    assert chains != [kills.plan(2, number) for number in range(40)]
    drawn = [kill for chain in chains for kill in chain.kills]
    assert {kill.phase for kill in drawn} == set(kills.PHASES)
    assert {chain.kind for chain in chains} == set(kills.SHARES)
    for chain in chains:
        for kill in chain.kills:
            assert kill.victim < runs.KINDS[chain.kind].processes
            assert kill.victim == 0 or kill.phase != kills.BETWEEN


def test_differences_are_named():
    ours = {"a": "1", "b": "1: 0.5, 2: 0.4", "c": "same", "d": ""}
    theirs = {"b": "1: 0.5, 2: 0.3", "c": "same", "d": "", "e": "1"}
    assert runs.differences(ours, theirs) == [
        "a is left over",
        "b differs: 2: 0.4 for 2: 0.3",
        "e is missing",
    ]
    assert runs.differences(theirs, theirs) == []
    assert runs.differences({"b": "1, 1, 2"}, {"b": "1, 2"}) == ["b differs: 1 for nothing"]


def write_scalars(folder, name, steps, start):
    """An event file of a run that begins or resumes at a step."""
    writer = SummaryWriter(str(folder / name), purge_step=start)
    for step in steps:
        writer.add_scalar("train/loss", float(step), step)
    writer.close()
    (file,) = (folder / name).iterdir()
    return file.rename(folder / f"events.out.tfevents.{name}")


def test_scalars_are_read_as_tensorboard_does(tmp_path):
    """What a restart repeats is dropped, and so is a record that was cut off."""
    write_scalars(tmp_path, "1", [1, 2, 3], 1)
    last = write_scalars(tmp_path, "2", [3, 4, 5], 3)
    assert runs.scalars(tmp_path) == {"train/loss": [(n, float(n)) for n in (1, 2, 3, 4, 5)]}
    content = last.read_bytes()
    last.write_bytes(content[:-3])
    assert [step for step, _ in runs.scalars(tmp_path)["train/loss"]] == [1, 2, 3, 4]
    last.write_bytes(content[:-3] + struct.pack("<Q", 10**6))
    assert len(runs.scalars(tmp_path)["train/loss"]) >= 4


class Batches:
    """An attempt that got these batches."""

    def __init__(self, *steps, rows=lambda step: [step]):
        self._batches = [(step, rows(step)) for step in steps]

    def batches(self, index):
        return self._batches


def test_lost_and_repeated_batches():
    last = runs.STEPS - 1
    whole = Batches(*range(runs.STEPS))
    assert runs.wrong_batches([Batches(0, 1, 2), Batches(*range(2, last + 1))], whole, 0) == (
        [],
        [],
    )
    assert runs.wrong_batches([Batches(0, 1), Batches(*range(3, last + 1))], whole, 0) == ([2], [])
    other = Batches(*range(2, last + 1), rows=lambda step: [step + (step == 5)])
    assert runs.wrong_batches([Batches(0, 1), other], whole, 0) == ([5], [])
    twice = Batches(0, 0, *range(1, last + 1))
    assert runs.wrong_batches([twice], whole, 0) == ([], [0])


@pytest.mark.parametrize(
    ("status", "err", "fault"),
    [
        (2, "Error: run/config.json is damaged; restore it.", ""),
        (2, "usage: …\nprog: error: argument file: expected one", ""),
        (1, "Error: run/config.json is damaged; restore it.", "exit status 1, not 2"),
        (0, "", "exit status 0, not 2"),
        (-signal.SIGSEGV, "", "ended by signal 11"),
        (2, "", "no message that begins with 'Error:'"),
        (2, "Error: \n", "no message that begins with 'Error:'"),
        (2, "Error: a.txt is damaged; restore it.", "the message names none of 'config.json'"),
        (2, "Error: config.json is damaged.", "the message does not say what to do"),
        (
            1,
            'Traceback (most recent call last):\n  File "/x/wonn_jax/data/maze.py", line 3, in f\n'
            "KeyError: 3\n",
            "traceback in f of data/maze.py: KeyError: 3",
        ),
    ],
)
def test_what_a_command_has_to_say(status, err, fault):
    names = ["config.json"] if "config.json" in err + fault else []
    assert wrong_ending(status, err, names) == [fault] * bool(fault)


# --- Checkpoints and disks ------------------------------------------------------------------------


@pytest.mark.parametrize("name", storage.DAMAGES)
def test_every_damage_changes_the_newest_checkpoint_alone(maze_run, tmp_path, name):
    folder = shutil.copytree(maze_run / "checkpoints", tmp_path / "checkpoints")
    newest = folder / f"{runs.STEPS}"
    shutil.move(folder / "30", newest)
    shutil.move(folder / "28", folder / f"{runs.STEPS - runs.SAVED}")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    storage.DAMAGES[name](newest, random.Random(1))
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changed = [x for x in before.keys() | after.keys() if before.get(x) != after.get(x)]
    assert changed and all(str(x).startswith(str(newest)) for x in changed)


def test_troubles_of_disks_are_drawn_from_the_seed():
    names = [[x.name for x in storage.troubles(random.Random(n), 10**6, 100)] for n in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    assert len(set(names[0])) == len(names[0]) >= 10


# --- The campaign ---------------------------------------------------------------------------------


def test_an_interrupted_campaign_goes_on(tmp_path):
    calls = Counter()

    def case(name, faults=()):
        def run(place):
            calls[name] += 1
            (place / "left").write_text("")
            return Case(name, "ended", faults, {"kills": 2})

        return run

    for _ in range(2):
        campaign = Campaign(tmp_path / "c", 1)
        campaign.run("kills/0", case("good"))
        campaign.run("kills/1", case("bad", ["lost"]))
        campaign.run("disks/0", lambda place: place / 0)
    assert calls == {"good": 1, "bad": 2}
    assert not (tmp_path / "c" / "kills" / "0").exists()
    assert (tmp_path / "c" / "kills" / "1" / "left").exists()
    assert campaign.total("kills", "kills") == 4
    lost, failed = campaign.faults()
    assert lost == "kills/1: lost" and failed.startswith("disks/0: TypeError(")


def test_cases_of_other_code_do_not_count(tmp_path):
    Campaign(tmp_path, 1).run("kills/0", lambda _: Case("a", "b"))
    kept = json.loads((tmp_path / "cases.json").read_text())
    kept["about"]["code"] = "other"
    (tmp_path / "cases.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="Use --again to begin anew"):
        Campaign(tmp_path, 1)
    assert Campaign(tmp_path, 1, again=True).cases == {}


def test_the_page_has_all_seeds(tmp_path):
    for seed in (1, 2):
        campaign = Campaign(tmp_path / f"seed-{seed}", seed)
        campaign.run("kills/0", lambda _: Case("mazes", "killed", [], {"kills": 3}))
        said = f"{tmp_path}/seed-{seed}/run is full"
        campaign.run("disks/0", lambda _, n=seed, s=said: Case("full|er", s, ["oh"] * (n - 1)))
    table.write_table(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| kills: kills | 3 | 3 |" in page
    assert "| disks: faults | 0 | 1 |" in page
    assert "| full\\|er | seed-2/run is full | oh |" in page
    assert page.count("| mazes | killed | – |") == 2
