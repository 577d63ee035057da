"""Cycles and collectives of a program compiled for TPUs, read from its HLO."""

import math
import re
from collections.abc import Callable, Iterator

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}


def computations(hlo: str) -> dict[str, list[str]]:
    """The instructions of each computation of a compiled module by name; the entry is ''."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in hlo.splitlines():
        if head := re.match(r"(ENTRY )?%([^ ]+) \(.*\{$", line):
            lines = found["" if head[1] else head[2]] = []
        else:
            lines.append(line)
    return found


def executed(
    parts: dict[str, list[str]], name: str = "", times: int = 1
) -> Iterator[tuple[str, int]]:
    """The instructions of a computation and how often each runs; only the first branch is taken.

    Args:
      parts: see `computations`.
      name: of the computation.
      times: how often the computation itself runs.
    """
    for line in parts[name]:
        yield line, times
        if loop := re.search(r" while\(.*condition=%([^ ,]+), body=%([^ ,]+)", line):
            trips = re.findall(r"s32\[\]\S* constant\((\d+)\)", "\n".join(parts[loop[1]]))
            # A loop whose trip count depends on data, as in random number generation, counts once.
            yield from executed(parts, loop[2], times * max(map(int, trips), default=1))
        elif branch := re.search(r" conditional\(.*branch_computations=\{%([^ ,}]+)", line):
            yield from executed(parts, branch[1], times)


def cycles(parts: dict[str, list[str]], kernel: Callable[[str], float]) -> float:
    """Estimated cycles of a program: the compiler's estimates, except for Pallas kernels.

    Args:
      parts: see `computations`.
      kernel: cycles of a Pallas kernel by its name.
    """
    total = 0.0
    for line, times in executed(parts):
        if estimate := re.search(r'"estimated_cycles":"(\d+)"', line):
            total += times * int(estimate[1])
        elif custom := re.search(r"%(\w+)[.\d]* = .* custom-call\(.*tpu_custom_call", line):
            total += times * kernel(custom[1])
    return total


def collectives(parts: dict[str, list[str]]) -> dict[str, tuple[int, int]]:
    """By kind, the number of collectives a device takes part in and the bytes of their results."""
    found: dict[str, tuple[int, int]] = {}
    kinds = "|".join(COLLECTIVES)
    for line, times in executed(parts):
        if match := re.search(rf" = (.*?) ({kinds})(-start)?\(", line):
            result, kind, start = match.groups()
            arrays = re.findall(r"(\w+)\[([\d,]*)\]", result)
            sizes = [
                SIZES[dtype] * math.prod(map(int, filter(None, shape.split(","))))
                for dtype, shape in arrays
            ]
            if start and kind != "all-reduce":  # operands, results and perhaps two flags
                sizes = [size for size in sizes if size > 4 or len(sizes) == 2]
                sizes = sizes[len(sizes) // 2 :]
            count, moved = found.get(kind, (0, 0))
            found[kind] = (count + times, moved + times * sum(sizes))
    return found
