"""The text of optimised HLO, read: instructions, how often each runs, arrays and collectives.

XLA's compilers for GPUs and TPUs can be asked for programs of devices that this machine does not
have, but then say little about what these cost. Their text tells; see `wonn_jax.train.workload`.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BITS = {"pred": 8, "s2": 2, "u2": 2, "s4": 4, "u4": 4, "token": 0, "opaque": 0}
"""Of the types whose name does not tell them; `bf16` has 16."""

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("add-dependency", "opt-barrier", "domain", "while", "conditional", "call", "async-start"),
    *("async-update", "async-done", "copy-done", "send-done", "recv-done"),
}
"""Instructions that launch no kernel; what those run that name a computation counts by itself."""


class Instruction(NamedTuple):
    """One line: `%name = shape opcode(operands), attributes`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    root: bool = False
    literal: str = ""  # what stands between the parentheses


Computation = dict[str, Instruction]
Module = dict[str, Computation]

_LINE = re.compile(r"^\s*(ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([a-z][\w\-]*)\(")


def parse(text: str) -> Module:
    """The instructions, by name, of each computation, by name; that of the entry is ''."""
    module: Module = {}
    here: Computation = {}
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%([^ ]+) \(.*\{$", line):
            here = module["" if head[1] else head[2]] = {}
        elif match := _LINE.match(line):
            end = _closing(line, match.end())
            literal = line[match.end() : end]
            here[match[2]] = Instruction(
                name=match[2],
                shape=match[3],
                opcode=match[4],
                operands=tuple(re.findall(r"%([\w.\-]+)", literal)),
                attributes=line[end + 1 :],
                root=bool(match[1]),
                literal=literal,
            )
    return module


def _closing(line: str, start: int) -> int:
    """Where the parenthesis closes that was opened before `start`."""
    depth = 1
    for match in re.finditer(r"[()]", line[start:]):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return start + match.start()
    return len(line)


def collectives(module: Module) -> dict[str, tuple[int, int]]:
    """By kind, the number of collectives a device takes part in and the bytes of their results."""
    found: dict[str, tuple[int, int]] = {}
    for instruction, _, times in executed(module):
        kind = instruction.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            count, moved = found.get(kind, (0, 0))
            found[kind] = (count + times, moved + times * results(instruction))
    return found


def executed(
    module: Module, name: str = "", times: int = 1
) -> Iterator[tuple[Instruction, Computation, int]]:
    """Instructions as they run: each with its computation, and how often.

    A loop whose trip count depends on data counts once; of the branches of a `conditional` the one
    that writes most.

    Args:
      module: see `parse`.
      name: of the computation.
      times: how often the computation itself runs.
    """
    here = module[name]
    for instruction in here.values():
        yield instruction, here, times
        if instruction.opcode == "while":
            body = named(instruction, "body")
            yield from executed(module, body, times * (trip_count(module, instruction) or 1))
        elif instruction.opcode == "conditional":
            branches = _branches(instruction)
            yield from executed(module, max(branches, key=lambda x: _written(module, x)), times)
        elif instruction.opcode in ("call", "async-start"):
            called = named(instruction, "to_apply") or named(instruction, "calls")
            yield from executed(module, called, times)


def trip_count(module: Module, loop: Instruction) -> int | None:
    """How often a `while` runs its body; None if only the data tell."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(known[1])
    # Compilers that do not say compare the counter with a constant in the condition.
    condition = module[named(loop, "condition")].values()
    limits = [
        int(x.literal)
        for x in condition
        if x.opcode == "constant" and re.match(r"[su]32\[\]", x.shape)
    ]
    return max(limits, default=None)


def named(instruction: Instruction, attribute: str) -> str:
    """The computation that an attribute names; '' for none."""
    found = re.search(rf"\b{attribute}=%([^ ,}}]+)", instruction.attributes)
    return found[1] if found else ""


def _branches(conditional: Instruction) -> list[str]:
    if listed := re.search(r"branch_computations=\{([^}]*)\}", conditional.attributes):
        return re.findall(r"%([^ ,]+)", listed[1])
    return [named(conditional, f"{which}_computation") for which in ("true", "false")]


def _written(module: Module, name: str) -> int:
    return sum(n * size(x.shape) for x, _, n in executed(module, name) if x.opcode not in FREE)


# --- Arrays ---------------------------------------------------------------------------------------


class Array(NamedTuple):
    """Of a shape as it is written: `bf16[64,900,8,16]{3,2,1,0}`."""

    dtype: str
    dimensions: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.dimensions)

    @property
    def bytes(self) -> int:
        return -(-self.elements * _bits(self.dtype) // 8)


def arrays(shape: str) -> list[Array]:
    """Those of an array's or a tuple's shape."""
    return [
        Array(dtype, tuple(int(n) for n in re.findall(r"\d+", dimensions)))
        for dtype, dimensions in re.findall(r"\b([a-z]\w*)\[([\d,<=]*)\]", shape)
    ]


def size(shape: str) -> int:
    """Bytes of an array or of all arrays of a tuple."""
    return sum(array.bytes for array in arrays(shape))


def _bits(dtype: str) -> int:
    if dtype in BITS:
        return BITS[dtype]
    if number := re.match(r"[a-z]+(\d+)", dtype):
        return int(number[1])
    raise ValueError(f"HLO of an unknown element type: {dtype!r}.")


def results(instruction: Instruction) -> int:
    """Bytes of the results of a collective."""
    shape = instruction.shape
    if not instruction.opcode.endswith("-start") or instruction.opcode == "all-reduce-start":
        return size(shape)
    # (operand, result, flags), where operand and result may be tuples themselves.
    return size(_elements(shape)[1])


def _elements(shape: str) -> list[str]:
    """The shapes of the elements of a tuple's shape."""
    found, depth = [""], 0
    for sign in shape[1:-1]:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    return found
