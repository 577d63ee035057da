"""Mazes: the label rule and the generator against the published set, the files, the messages."""

import collections
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from wonn_jax.data import maze, source

FOLDER = pathlib.Path(os.environ.get("WONN_MAZE_DIR", "maze-30x30-hard-1k"))
BOARDS = 250  # generated at full size, 20 a second
SMALL = {"height": 6, "width": 5, "min_path": 4, "train_examples": 40, "test_examples": 10}

# Start, goal and two shortest paths of four moves: the rule goes down first.
OPEN = np.array([[[3, 2, 2], [2, 2, 2], [2, 2, 4]]], np.uint8)
OPEN_LABEL = np.array([[[3, 2, 2], [5, 2, 2], [5, 5, 4]]], np.uint8)


@pytest.fixture(scope="module")
def published():
    """All 2000 published boards: inputs and labels, uint8 [2000, 30, 30]."""
    if not (FOLDER / "train" / "all__inputs.npy").is_file():
        pytest.skip("needs the published mazes; set WONN_MAZE_DIR to their folder")
    inputs, labels = (
        np.concatenate([np.load(FOLDER / split / f"all__{kind}.npy") for split in source.SPLITS])
        for kind in ("inputs", "labels")
    )
    return inputs.reshape(-1, 30, 30), labels.reshape(-1, 30, 30)


@pytest.fixture(scope="module")
def generated():
    return maze.generate(BOARDS, 30, 30, 109, seed=1, processes=1)


def queue_label(board):
    """The label rule written with a queue, one board at a time."""
    height, width = board.shape
    start, goal = (tuple(np.argwhere(board == code)[0]) for code in (maze.START, maze.GOAL))
    parent, queue = {start: None}, collections.deque([start])
    while queue:
        row, column = queue.popleft()
        for down, right in ((1, 0), (0, -1), (0, 1), (-1, 0)):
            cell = row + down, column + right
            inside = 0 <= cell[0] < height and 0 <= cell[1] < width
            if inside and board[cell] != maze.WALL and cell not in parent:
                parent[cell] = (row, column)
                queue.append(cell)
    label, cell = board.copy(), parent[goal]
    while cell != start:
        label[cell] = maze.PATH
        cell = parent[cell]
    return label


def far_cells(boards, min_path):
    """Per board: cells at least `min_path` from the start, and whether the goal is farthest."""
    start = np.argmax(boards.reshape(len(boards), -1) == maze.START, axis=1)
    width = boards.shape[2]
    distance, _ = maze._breadth_first(boards != maze.WALL, maze._framed(start, width))
    moves, _ = maze.shortest_path(boards)
    return (distance >= min_path).sum(axis=1), moves == distance.max(axis=1)


def write(folder, inputs, labels):
    (folder / "train").mkdir(parents=True)
    np.save(folder / "train" / "all__inputs.npy", inputs.reshape(len(inputs), -1))
    np.save(folder / "train" / "all__labels.npy", labels.reshape(len(labels), -1))
    return str(folder)


# The label rule.


def test_label_reproduces_every_published_label(published):
    inputs, labels = published
    assert len(inputs) == 2000
    np.testing.assert_array_equal(maze.label(inputs), labels)


@pytest.mark.parametrize("shape", [(6, 5), (3, 9), (1, 7)])
def test_label_equals_a_queue(shape):
    inputs, labels = maze.generate(60, *shape, 2, seed=0, processes=1)
    np.testing.assert_array_equal(labels, [queue_label(board) for board in inputs])


def test_label_of_start_beside_goal_is_the_input():
    board = np.array([[[3, 4, 2]]], np.uint8)
    np.testing.assert_array_equal(maze.label(board), board)
    moves, _ = maze.shortest_path(board)
    assert moves.tolist() == [1]


def test_the_path_keeps_off_padding():
    board = np.array([[[3, 0, 4], [2, 2, 2]]], np.uint8)
    assert maze.label(board).tolist() == [[[3, 0, 4], [5, 5, 5]]]


def test_mirrored_label_is_not_the_label_of_the_mirrored_board():
    np.testing.assert_array_equal(maze.label(OPEN), OPEN_LABEL)
    turned = OPEN[:, ::-1, ::-1].copy()
    assert (maze.label(turned) != OPEN_LABEL[:, ::-1, ::-1]).any()


# The generator.


def test_generated_boards_keep_their_promise(generated):
    inputs, labels = generated
    assert inputs.shape == labels.shape == (BOARDS, 30, 30)
    assert inputs.dtype == labels.dtype == np.uint8
    maze.validate(inputs, labels, "generated")
    moves, _ = maze.shortest_path(inputs)
    assert moves.min() >= 109
    assert len({board.tobytes() for board in inputs}) == len(inputs)


def test_generator_has_the_statistics_of_the_published_facts(generated):
    """Bounds are three or four standard errors around the facts of the 2000."""
    inputs, _ = generated
    density = (inputs == maze.WALL).mean(axis=(1, 2))
    moves, _ = maze.shortest_path(inputs)
    assert abs(density.mean() - 0.372) < 3 * 0.027 / BOARDS**0.5
    assert abs(density.std() - 0.027) < 4 * 0.027 / (2 * BOARDS) ** 0.5
    assert abs(moves.mean() - 113.8) < 4 * 5.1 / BOARDS**0.5
    for length, share in ((109, 0.160), (110, 0.1365), (111, 0.1305)):
        assert abs((moves == length).mean() - share) < 4 * (share * (1 - share) / BOARDS) ** 0.5
    assert (far_cells(inputs, 109)[1]).mean() < 0.0725 + 4 * (0.0725 * 0.9275 / BOARDS) ** 0.5


def test_generator_has_the_distributions_of_the_published_set(published, generated):
    """Kolmogorov-Smirnov distances, with a bound that chance passes once in ten thousand."""
    bound = 2.23 * (1 / 2000 + 1 / BOARDS) ** 0.5

    def statistics(boards):
        far, _ = far_cells(boards, 109)
        density = (boards == maze.WALL).mean(axis=(1, 2))
        return density, maze.shortest_path(boards)[0], far

    for one, other in zip(statistics(published[0]), statistics(generated[0]), strict=True):
        grid = np.concatenate([one, other])
        below = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (one, other)]
        assert np.abs(below[0] - below[1]).max() < bound


@pytest.mark.parametrize(
    "shape", [(6, 6), (5, 12), (20, 3), (4, 32), (4, 64), (3, 65), (3, 128), (3, 150)]
)
def test_any_board_size(shape):
    """The search on words of every size keeps exactly the boards that a plain search keeps."""
    height, width = shape
    minimum = 12
    rng = np.random.default_rng(0)
    kept = maze._promising(rng, height, width, minimum)
    start = np.argmax(kept.reshape(len(kept), -1) == maze.START, axis=1)
    distance, _ = maze._breadth_first(kept != maze.WALL, maze._framed(start, width))
    assert len(kept) and (distance.max(axis=1) >= minimum).all()
    # And none is lost: the same boards, asked for any reachable neighbour only.
    rng = np.random.default_rng(0)
    more = maze._promising(rng, height, width, 1)
    start = np.argmax(more.reshape(len(more), -1) == maze.START, axis=1)
    distance, _ = maze._breadth_first(more != maze.WALL, maze._framed(start, width))
    assert (distance.max(axis=1) >= minimum).sum() == len(kept)


def test_the_result_does_not_depend_on_processes_or_count(monkeypatch):
    monkeypatch.setattr(maze, "_CHUNK_BOARDS", 60)  # several chunks, in this process only
    alone = maze.generate(300, 5, 5, 6, seed=3, processes=1)
    fewer = maze.generate(130, 5, 5, 6, seed=3, processes=1)
    for long, short in zip(alone, fewer, strict=True):
        np.testing.assert_array_equal(long[:130], short)
    other = maze.generate(300, 5, 5, 6, seed=4, processes=1)
    assert (alone[0] != other[0]).any()


def test_two_processes_give_what_one_gives():
    one, two = (maze.generate(6000, 6, 6, 5, seed=3, processes=n) for n in (1, 2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_processes_that_cannot_start_change_nothing():
    """As in a script that is read from standard input and cannot be imported by the children."""
    script = (
        "from wonn_jax.data import maze, sudoku\n"
        "print(maze.generate(5000, 6, 6, 5, seed=3, processes=2)[0].tobytes()[-36:].hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-"],
        input=script,
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = maze.generate(5000, 6, 6, 5, seed=3, processes=1)[0][-1].tobytes().hex()
    assert done.stdout.strip() == expected, done.stderr
    assert "goes on alone" in done.stderr


def test_impossible_requests_end(monkeypatch):
    with pytest.raises(ValueError, match=r"path of 27 moves.*at most 26 moves.*Lower min_path"):
        maze.generate(1, 6, 6, 27, seed=0)
    with pytest.raises(ValueError, match=r"0 boards of 6x6.*count >= 1"):
        maze.generate(0, 6, 6, 5, seed=0)
    with pytest.raises(ValueError, match=r"seed -1.*seed >= 0"):
        maze.generate(1, 6, 6, 5, seed=-1)
    monkeypatch.setattr(maze, "_BATCHES", 1)
    monkeypatch.setattr(maze, "_PATIENCE", 2)
    with pytest.raises(ValueError, match=r"0 distinct boards found.*Required: 1\. Lower min_path"):
        maze.generate(1, 5, 5, 24, seed=0, processes=1)
    with pytest.raises(ValueError, match=r"2 distinct boards found.*Required: 100"):
        maze.generate(100, 1, 2, 1, seed=0, processes=1)


# Checking and decoding.


def test_published_boards_are_valid(published):
    maze.validate(*published, "published")


def test_validate_accepts_padding():
    maze.validate(
        np.pad(OPEN, ((0, 0), (0, 1), (0, 2))), np.pad(OPEN_LABEL, ((0, 0), (0, 1), (0, 2))), "here"
    )


@pytest.mark.parametrize(
    ("cells", "codes", "message"),
    [
        (
            [(0, 0)],
            [2],
            r"here: board 1 has 0 cells of code 3 \(start\) \(1 of 3.*exactly one start",
        ),
        ([(0, 1)], [3], r"here: board 1 has 2 cells of code 3 \(start\).*exactly one start"),
        ([(2, 2)], [2], r"here: board 1 has 0 cells of code 4 \(goal\).*exactly one goal"),
        ([(0, 1)], [4], r"here: board 1 has 2 cells of code 4 \(goal\).*exactly one goal"),
        ([(0, 1)], [7], r"here: board 1 has an input code above 5.*0 padding, 1 wall.*inputs\[1\]"),
        ([(0, 1)], [1], r"here: board 1 has a label that differs.*codes of the input"),
    ],
)
def test_validate_names_the_wrong_input(cells, codes, message):
    inputs, labels = np.repeat(OPEN, 3, axis=0), np.repeat(OPEN_LABEL, 3, axis=0)
    for cell, code in zip(cells, codes, strict=True):
        inputs[1][cell] = code
    with pytest.raises(ValueError, match=message):
        maze.validate(inputs, labels, "here")


@pytest.mark.parametrize(
    "rows",
    [
        [[3, 2, 2], [5, 2, 2], [5, 2, 4]],  # a gap
        [[3, 2, 2], [2, 2, 2], [2, 2, 4]],  # nothing
        [[3, 2, 5], [5, 2, 2], [5, 5, 4]],  # a cell elsewhere
        [[3, 5, 5], [5, 2, 5], [5, 5, 4]],  # two paths
        [[3, 5, 2], [5, 5, 2], [2, 5, 4]],  # a short cut
    ],
)
def test_validate_names_the_label_that_is_no_path(rows):
    labels = np.concatenate([OPEN_LABEL, OPEN_LABEL, np.array([rows], np.uint8)])
    with pytest.raises(ValueError, match=r"board 2 has a label that is not a path.*without gaps"):
        maze.validate(np.repeat(OPEN, 3, axis=0), labels, "here")


def test_validate_names_shapes():
    with pytest.raises(ValueError, match=r"inputs have shape \(1, 3, 3\), labels \(1, 3, 2\)"):
        maze.validate(OPEN, OPEN_LABEL[:, :, :2], "here")
    with pytest.raises(ValueError, match=r"found int64 \[1, 3, 3\]\. Required: uint8 \[N, H, W\]"):
        maze.validate(OPEN.astype(int), OPEN_LABEL, "here")


def test_label_names_a_board_without_a_path():
    board = np.array([[[3, 1, 4]]], np.uint8)
    with pytest.raises(ValueError, match=r"label: board 0 has no path from start to goal"):
        maze.label(board)


def test_decode():
    inputs, labels = np.array([[0, 1, 2, 3, 4, 5, 2]]), np.array([[0, 1, 2, 3, 4, 5, 5]])
    decoded = maze.decode(inputs.astype(np.uint8), labels.astype(np.uint8))
    assert decoded["input"].tolist() == [[1, 0, 1, 2, 3, 1, 1]]
    assert decoded["target"].tolist() == [[0, 0, 1, 2, 3, 4, 4]]
    assert decoded["valid"].tolist() == [[False] + [True] * 6]


# Loading.


def test_load_published(published):
    loaded = maze.load(str(FOLDER), data_dir="", split="test")
    assert repr(loaded) == "GridSource(name='maze', split='test', count=1000)"
    example = loaded[7]
    np.testing.assert_array_equal(example["target"] + 1, published[1][1007])
    assert example["input"].dtype == np.int32 and example["valid"].all()
    assert example["input"].max() == 3
    assert loaded.fingerprint != maze.load(str(FOLDER), data_dir="", split="train").fingerprint


def test_load_names_what_is_wrong_with_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"all__inputs.npy is not there.*train/ and test/"):
        maze.load(str(tmp_path / "none"), data_dir="", split="train")
    path = write(tmp_path / "small", OPEN, OPEN_LABEL)
    with pytest.raises(ValueError, match=r"found uint8 \[1, 9\]\. Required: uint8 \[N, 900\]"):
        maze.load(path, data_dir="", split="train")
    assert len(maze.load(path, data_dir="", split="train", height=3, width=3)) == 1
    path = write(tmp_path / "wrong", OPEN, OPEN)
    with pytest.raises(ValueError, match=r"wrong/train: board 0 has a label that is not a path"):
        maze.load(path, data_dir="", split="train", height=3, width=3)
    (tmp_path / "wrong" / "train" / "all__labels.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"all__labels.npy cannot be read.*whole file of numbers"):
        maze.load(path, data_dir="", split="train", height=3, width=3)
    with pytest.raises(ValueError, match=r"Split 'valid' of maze.*one of train, test"):
        maze.load(path, data_dir="", split="valid")
    with pytest.raises(ValueError, match=r"test_examples -1 was asked for.*at least 1"):
        maze.load(data_dir=tmp_path, split="test", test_examples=-1)


def test_generated_set_is_prepared_once(tmp_path, monkeypatch):
    train, test = (maze.load(data_dir=tmp_path, split=s, **SMALL) for s in source.SPLITS)
    assert (len(train), len(test)) == (40, 10)
    inputs, labels = maze.generate(50, 6, 5, 4, seed=0, processes=1)
    expected = maze.decode(inputs, labels)
    for loaded, offset in ((test, 0), (train, 10)):
        for index in range(len(loaded)):
            for name, value in loaded[index].items():
                np.testing.assert_array_equal(value, expected[name][offset + index])

    monkeypatch.setattr(maze, "generate", lambda *a, **k: pytest.fail("generated again"))
    again = maze.load(data_dir=tmp_path, split="train", **SMALL)
    assert again.fingerprint == train.fingerprint != test.fingerprint


def test_each_request_has_a_folder_of_its_own():
    names = {maze.MazeConfig().name}
    for field in ("height", "width", "min_path", "train_examples", "test_examples", "seed"):
        names.add(maze.MazeConfig(**{field: 7}).name)
    assert len(names) == 7


def test_train_and_test_share_no_board(tmp_path):
    """Where boards run short: only 324 boards of 2x3 cells with a path of 2 moves exist."""
    request = {"height": 2, "width": 3, "min_path": 2, "train_examples": 40, "test_examples": 20}
    boards = [
        {source_[i]["input"].tobytes() for i in range(len(source_))}
        for source_ in (maze.load(data_dir=tmp_path, split=s, **request) for s in source.SPLITS)
    ]
    assert [len(b) for b in boards] == [40, 20]
    assert not boards[0] & boards[1]


def test_interrupted_preparation_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    whole = maze.MazeBuilder._generate_examples

    def interrupted(self, inputs, labels):
        yield next(whole(self, inputs, labels))
        raise KeyboardInterrupt

    monkeypatch.setattr(maze.MazeBuilder, "_generate_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        maze.load(data_dir=tmp_path, split="train", **SMALL)
    assert not list(tmp_path.rglob("dataset_info.json"))
    monkeypatch.setattr(maze.MazeBuilder, "_generate_examples", whole)
    # What a killed process leaves behind.
    folder = tmp_path / "maze" / maze.MazeConfig(**SMALL).name
    (folder / "incomplete.ABCDEF_1.0.0").mkdir(parents=True)
    assert len(maze.load(data_dir=tmp_path, split="train", **SMALL)) == 40


def test_half_a_folder_is_named(tmp_path):
    (tmp_path / "maze" / maze.MazeConfig(**SMALL).name / "1.0.0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"1.0.0 has no dataset_info.json.*Type: rm -r"):
        maze.load(data_dir=tmp_path, split="train", **SMALL)


def test_another_host_may_finish_first(tmp_path, monkeypatch):
    alone = maze.generate

    def overtaken(*args, **kwargs):
        monkeypatch.setattr(maze, "generate", alone)
        maze.load(data_dir=tmp_path, split="train", **SMALL)  # the other host, meanwhile
        return alone(*args, **kwargs)

    monkeypatch.setattr(maze, "generate", overtaken)
    assert len(maze.load(data_dir=tmp_path, split="train", **SMALL)) == 40


# The source.


def test_source_is_picklable_and_random_access():
    decoded = maze.decode(OPEN, OPEN_LABEL)
    loaded = source.GridSource("maze", "train", **_as_arguments(decoded))
    copy = pickle.loads(pickle.dumps(loaded))
    assert repr(copy) == repr(loaded) and copy.fingerprint == loaded.fingerprint
    copy[0]["input"][:] = 9  # a caller's write stays with the caller
    np.testing.assert_array_equal(copy[0]["input"], loaded[0]["input"])
    for index in (-1, 1):
        with pytest.raises(IndexError, match=rf"Example {index} of GridSource.*Required: 0 to 0"):
            loaded[index]


def test_fingerprint_follows_the_content():
    decoded = _as_arguments(maze.decode(OPEN, OPEN_LABEL))
    prints = {source.GridSource("maze", "train", **decoded).fingerprint}
    for name in decoded:
        changed = {**decoded, name: decoded[name].copy()}
        changed[name][0, 1, 1] ^= 1
        prints.add(source.GridSource("maze", "train", **changed).fingerprint)
    assert len(prints) == 4 and {len(p) for p in prints} == {16}


def test_source_names_shapes_that_differ():
    decoded = _as_arguments(maze.decode(OPEN, OPEN_LABEL))
    decoded["valid"] = decoded["valid"][:, :2]
    with pytest.raises(ValueError, match=r"valid \(1, 2, 3\) differ in shape.*one shape"):
        source.GridSource("maze", "train", **decoded)


def _as_arguments(decoded):
    return {"inputs": decoded["input"], "targets": decoded["target"], "valid": decoded["valid"]}
