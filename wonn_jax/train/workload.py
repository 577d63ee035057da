"""What a compiled program does, counted in its optimised HLO.

Which kernels it launches, how often (loops know their trip counts), which arrays each reads and
writes, and which products it computes.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from wonn_jax.train.hlo import (
    COLLECTIVES,
    FREE,
    Array,
    Computation,
    Instruction,
    Module,
    arrays,
    executed,
    named,
    results,
    size,
)

FREE_CALLS = {"AllocateBuffer", "CreateBuffer", "PinBuffer", "UnpinBuffer", "Sharding"}

SLICES = {"dynamic-slice", "slice", "gather"}
"""Instructions that read no more of their first operand than they return."""


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
    written = results(instruction)
    sent = {"all-reduce": 2 * read, "all-gather": written}.get(kind, read)
    return read + written, 0, "", sent


def _moved(module: Module, instruction: Instruction, here: Computation) -> int:
    """Bytes that a kernel reads and writes."""
    shapes = [here[name].shape for name in instruction.operands]
    if instruction.opcode == "fusion":
        return _moved_by_fusion(module[named(instruction, "calls")])
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
        body = module[named(instruction, "calls")]
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
