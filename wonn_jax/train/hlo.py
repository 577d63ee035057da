"""What a compiled program does, counted in the text of its optimised HLO.

XLA's compilers for GPUs and TPUs can be asked for programs of devices that this machine does not
have, but then say little about what these cost. Their text tells: which kernels it launches, how
often (loops know their trip counts), which arrays each reads and writes, and which products it
computes.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
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

FREE_CALLS = {"AllocateBuffer", "CreateBuffer", "PinBuffer", "UnpinBuffer", "Sharding"}

SLICES = {"dynamic-slice", "slice", "gather"}
"""Instructions that read no more of their first operand than they return."""


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
            found[kind] = (count + times, moved + times * _results(instruction))
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
            body = _named(instruction, "body")
            yield from executed(module, body, times * (trip_count(module, instruction) or 1))
        elif instruction.opcode == "conditional":
            branches = _branches(instruction)
            yield from executed(module, max(branches, key=lambda x: _written(module, x)), times)
        elif instruction.opcode in ("call", "async-start"):
            called = _named(instruction, "to_apply") or _named(instruction, "calls")
            yield from executed(module, called, times)


def trip_count(module: Module, loop: Instruction) -> int | None:
    """How often a `while` runs its body; None if only the data tell."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(known[1])
    # Compilers that do not say compare the counter with a constant in the condition.
    condition = module[_named(loop, "condition")].values()
    limits = [
        int(x.literal)
        for x in condition
        if x.opcode == "constant" and re.match(r"[su]32\[\]", x.shape)
    ]
    return max(limits, default=None)


def _named(instruction: Instruction, attribute: str) -> str:
    """The computation that an attribute names; '' for none."""
    found = re.search(rf"\b{attribute}=%([^ ,}}]+)", instruction.attributes)
    return found[1] if found else ""


def _branches(conditional: Instruction) -> list[str]:
    if listed := re.search(r"branch_computations=\{([^}]*)\}", conditional.attributes):
        return re.findall(r"%([^ ,]+)", listed[1])
    return [_named(conditional, f"{which}_computation") for which in ("true", "false")]


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


# --- Kernels --------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """What is launched at one place of a program: a fusion, a call of a library, a copy, …

    name: of the instruction.
    target: of a custom call, or the opcode.
    times: how often it runs.
    bytes: that one run reads and writes, each operand and result once.
    flops: of the products of one run, two per multiply-add.
    dtype: of the operands of these products; '' without any.
    sent: bytes that a collective sends over the links of a device, at most.
    """

    name: str
    target: str
    times: int
    bytes: int
    flops: int
    dtype: str
    sent: int = 0


def kernels(module: Module) -> Iterator[Kernel]:
    """All kernels of a program, see `Kernel`."""
    for instruction, here, times in executed(module):
        opcode = instruction.opcode
        target = _target(instruction)
        collective = opcode.removesuffix("-start")
        if opcode in FREE or target in FREE_CALLS or opcode.endswith("-done"):
            continue
        if collective in COLLECTIVES:
            yield Kernel(instruction.name, collective, times, *_collective(instruction, here))
            continue
        flops, dtype = products(module, instruction, here)
        moved = _moved(module, instruction, here)
        yield Kernel(instruction.name, target or opcode, times, moved, flops, dtype)


def _target(instruction: Instruction) -> str:
    if instruction.opcode != "custom-call":
        return ""
    found = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
    return found[1] if found else ""


def _collective(instruction: Instruction, here: Computation) -> tuple[int, int, str, int]:
    """Bytes, no operations, and bytes sent: at most, by the ring algorithms for many devices."""
    kind = instruction.opcode.removesuffix("-start")
    read = sum(size(here[name].shape) for name in instruction.operands)
    written = _results(instruction)
    sent = {"all-reduce": 2 * read, "all-gather": written}.get(kind, read)
    return read + written, 0, "", sent


def _results(instruction: Instruction) -> int:
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


def _moved(module: Module, instruction: Instruction, here: Computation) -> int:
    """Bytes that a kernel reads and writes."""
    shapes = [here[name].shape for name in instruction.operands]
    if instruction.opcode == "fusion":
        return _moved_by_fusion(module[_named(instruction, "calls")])
    if instruction.opcode in SLICES:
        return 2 * size(instruction.shape) + sum(map(size, shapes[1:]))
    if instruction.opcode == "dynamic-update-slice":
        return 2 * size(shapes[1])
    if instruction.opcode == "scatter":
        return size(shapes[1]) + 3 * size(shapes[2])
    written = instruction.shape
    if instruction.opcode == "copy-start":
        return 2 * sum(map(size, shapes))
    if instruction.opcode == "custom-call" and written.startswith("("):
        # The last result of a call of cuDNN or cuBLAS is the memory it works in.
        written = re.sub(r", (?:/\*index=\d+\*/)?[su]8\[\d+\]\{0\}\)$", ")", written)
    return sum(map(size, shapes)) + size(written)


def _moved_by_fusion(body: Computation) -> int:
    users: dict[str, list[Instruction]] = {name: [] for name in body}
    for instruction in body.values():
        for name in dict.fromkeys(instruction.operands):
            users[name].append(instruction)
    (root,) = [x for x in body.values() if x.root]
    outputs = [body[x] for x in root.operands] if root.opcode == "tuple" else [root]
    written, in_place = 0, set[str]()
    for output in outputs:
        source = output
        while source.opcode in ("bitcast", "reshape"):
            source = body[source.operands[0]]
        if source.opcode == "dynamic-update-slice":
            in_place.add(source.name)
            written += size(body[source.operands[1]].shape)
        elif source.opcode == "scatter":
            in_place.add(source.name)
            written += 2 * size(body[source.operands[2]].shape)
        else:
            written += size(output.shape)
    final = {x.name for x in outputs}
    known: dict[str, int] = {}

    def used(name: str) -> int:
        """Elements of a value that the fusion needs."""
        if name not in known:
            whole = sum(array.elements for array in arrays(body[name].shape))
            wanted = whole if name in final else sum(by(name, user) for user in users[name])
            known[name] = min(whole, wanted)
        return known[name]

    def by(name: str, user: Instruction) -> int:
        whole = sum(array.elements for array in arrays(body[name].shape))
        first = user.operands[0] == name and name not in user.operands[1:]
        if user.name in in_place and first:
            return 0
        if user.opcode in SLICES and first:
            return used(user.name)
        if user.opcode == "tuple":
            return whole
        # Cell by cell: as much as is needed of the result.
        same = sum(array.elements for array in arrays(user.shape)) == whole
        return used(user.name) if same and user.opcode not in _MIXING else whole

    read = 0
    for parameter in [x for x in body.values() if x.opcode == "parameter"]:
        whole = sum(array.elements for array in arrays(parameter.shape))
        if whole:
            read += size(parameter.shape) * used(parameter.name) // whole
    return read + written


_MIXING = {"dot", "convolution", "reduce", "reduce-window", "scatter", "sort", "custom-call", "fft"}
"""Instructions of which a cell of the result needs more than one of the operand."""


# --- Products -------------------------------------------------------------------------------------


def products(module: Module, instruction: Instruction, here: Computation) -> tuple[int, str]:
    """Floating-point operations of the products in an instruction, and the type of their operands.

    Matrix products and convolutions, inside fusions too, and those of cuBLAS and cuDNN.
    """
    shapes = [arrays(here[name].shape) for name in instruction.operands]
    if instruction.opcode == "fusion":
        body = module[_named(instruction, "calls")]
        each = [products(module, x, body) for x in body.values()]
        dtypes = [dtype for flops, dtype in each if flops]
        return sum(flops for flops, _ in each), dtypes[0] if dtypes else ""
    if instruction.opcode not in ("dot", "convolution", "custom-call"):
        return 0, ""
    target = _target(instruction)
    result = (arrays(instruction.shape) or [Array("token", ())])[0]
    if instruction.opcode == "dot":
        axes = _numbers(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
    elif target.startswith("__cublas$"):
        axes = _numbers(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.attributes)
    elif instruction.opcode == "convolution" or target.startswith("__cudnn$conv"):
        return _convolution(instruction, result, [x[0] for x in shapes]), shapes[0][0].dtype
    elif target.startswith("__cudnn$fmha"):
        logits = _numbers(
            r'"intermediate_tensor_shape":.*?"dimensions": ?\[([^\]]*)\]', instruction.attributes
        )
        # Forward q kᵀ and its product with v; backward the first again, and two for each of these.
        number = 5 if "Backward" in target else 2
        query = shapes[0][0]
        return number * 2 * math.prod(logits) * query.dimensions[-1], query.dtype
    else:
        return 0, ""
    left = shapes[0][0]
    return 2 * result.elements * math.prod(left.dimensions[i] for i in axes), left.dtype


def _numbers(pattern: str, text: str) -> list[int]:
    found = re.search(pattern, text)
    return [int(n) for n in re.findall(r"\d+", found[1])] if found else []


def _convolution(instruction: Instruction, result: Array, operands: list[Array]) -> int:
    """Operations of a convolution or of one of its derivatives, whose products are as many."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    if labels is None:
        return 0
    target = _target(instruction)
    if "BackwardInput" in target:
        outputs, kernel = operands[0], operands[1]
    elif "BackwardFilter" in target:
        outputs, kernel = operands[1], result
    else:
        outputs, kernel = result, operands[1]
    channels = kernel.dimensions[labels[2].index("o")]
    return 2 * outputs.elements * kernel.elements // channels


# --- Sums -----------------------------------------------------------------------------------------


class Work(NamedTuple):
    """What one run of a program amounts to, on one device.

    launches: kernels launched; copies and collectives are among them.
    bytes: read and written.
    flops: of products, by the type of their operands.
    calls: how often each library function or collective is called, by target.
    sent: bytes that collectives send.
    """

    launches: int
    bytes: int
    flops: dict[str, int]
    calls: dict[str, int]
    sent: int


def work(found: Iterable[Kernel]) -> Work:
    """The sum over kernels."""
    launches = moved = sent = 0
    flops: dict[str, int] = {}
    calls: dict[str, int] = {}
    for kernel in found:
        launches += kernel.times
        moved += kernel.times * kernel.bytes
        sent += kernel.times * kernel.sent
        if kernel.flops:
            flops[kernel.dtype] = flops.get(kernel.dtype, 0) + kernel.times * kernel.flops
        if kernel.target in COLLECTIVES or re.match(r"__|\w+\$|tpu_custom_call", kernel.target):
            calls[kernel.target] = calls.get(kernel.target, 0) + kernel.times
    return Work(launches, moved, flops, calls, sent)


def roofline(
    found: Iterable[Kernel], peak: Callable[[str], float], bandwidth: float, links: float
) -> float:
    """Seconds that a run takes at least, by the published rates of a device: an estimate.

    Kernels run one after the other, each as long as its products take at the peak rate or its
    bytes at the bandwidth of the memory, whichever is longer; collectives at that of the links.
    Nothing is taken to stay in a cache, and launching costs nothing.

    Args:
      found: see `kernels`.
      peak: FLOP/s by the type of the operands of a product.
      bandwidth: of the memory, bytes/s.
      links: bytes/s to other devices.
    """
    total = 0.0
    for kernel in found:
        products = kernel.flops / peak(kernel.dtype) if kernel.flops else 0.0
        sent = kernel.sent / links if kernel.sent else 0.0
        total += kernel.times * max(products, kernel.bytes / bandwidth, sent)
    return total
