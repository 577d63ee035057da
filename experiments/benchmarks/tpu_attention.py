"""Attention with its gradients as the TPU compiler sees it, without a TPU.

    pip install 'jax[tpu]'
    python -m experiments.benchmarks.tpu_attention [maze ...] [--kernels plain pallas]

Compiles one call, forward and backward, in bfloat16 for one chip of a TPU v5e and prints a
Markdown table. All figures are estimates; nothing runs on a chip:

- temporaries and arguments: from the compiler's memory analysis.
- FLOP: of the products of queries and keys, by formula; the compiler's cost analysis counts the
  body of a loop once and nothing inside a Pallas kernel.
- bytes: from the cost analysis, including what stays in vector memory; a lower bound (≥) where
  there are loops or kernels.
- roofline: the longer of FLOP at the peak rate and bytes at the peak bandwidth of main memory; an
  overestimate where data stays in vector memory, as small arrays do.
- schedule: cycles at the clock rate. For XLA's operations these are the compiler's estimates, times
  the trip count in a loop; for a Pallas kernel, the length of its schedule times the steps of its
  grid, without waiting for memory.
"""

import argparse
import math
import os
import pathlib
import re
import tempfile
from typing import NamedTuple

from experiments.benchmarks.tpu_program import cycles
from wonn_jax.train.hlo import parse

PEAK = 197e12  # FLOP/s of bfloat16 products on a TPU v5e
BANDWIDTH = 819e9  # bytes/s
CLOCK = PEAK / (4 * 2 * 128**2)  # Hz: four units of 128 × 128 multiply-adds a cycle


class Shape(NamedTuple):
    """Of queries, keys and values."""

    batch: int
    tokens: int
    heads: int
    width: int


SHAPES = {
    "sudoku": Shape(100, 81, 8, 32),
    "cifar": Shape(64, 256, 8, 32),
    "maze": Shape(64, 900, 8, 16),
    "60x60": Shape(16, 3600, 8, 16),
    "120x120": Shape(4, 14400, 8, 16),
}
KERNELS = ("plain", "blockwise", "pallas")


class Cost(NamedTuple):
    """Of a compiled call."""

    temporaries: int  # bytes
    arguments: int  # bytes
    accessed: float  # bytes
    whole: bool  # whether `accessed` is complete: there are no loops or kernels
    cycles: int


def compiled(name: str, shape: Shape, device, dumps: pathlib.Path) -> Cost:
    """Compiles the attention kernel `name`; the compiler writes schedules into `dumps`."""
    import jax
    import jax.numpy as jnp

    from wonn_jax.kernels.attention import attention
    from wonn_jax.kernels.pallas import block_size

    def call(query, key, value):
        return attention(query, key, value, implementation=name, platform="tpu")

    def both(query, key, value, cotangent):
        out, pull = jax.vjp(call, query, key, value)
        return out, *pull(cotangent)

    for file in dumps.iterdir():
        file.unlink()
    place = jax.sharding.SingleDeviceSharding(device)
    operand = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place)
    program = jax.jit(both).lower(*[operand] * 4).compile()
    hlo, memory, analysis = program.as_text(), program.memory_analysis(), program.cost_analysis()

    def kernel(part: str) -> int:
        (report,) = dumps.glob(f"*-{part}[.-]*schedule-analysis_final_bundles.txt")
        length = re.search(r"total scheduled bundles: *(\d+)", report.read_text())
        assert length
        blocks = math.ceil(shape.tokens / block_size(shape.tokens))
        return int(length[1]) * shape.batch * shape.heads * blocks**2

    parts = parse(hlo)
    return Cost(
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        analysis["bytes accessed"],
        " while(" not in hlo and "tpu_custom_call" not in hlo,
        int(cycles(parts, kernel)),
    )


def label(case: str, shape: Shape) -> str:
    """'maze 64×900×8×16'."""
    return f"{case} {'×'.join(map(str, shape))}"


def row(case: str, name: str, shape: Shape, cost: Cost) -> str:
    """A line of the table."""
    products = 6 if name == "plain" else 7  # 2 forward, 4 backward; others recompute the logits
    flop = products * 2 * shape.batch * shape.heads * shape.tokens**2 * shape.width
    bound = "" if cost.whole else "≥ "
    cells = (
        label(case, shape),
        name,
        f"{cost.temporaries / 1e6:,.0f}",
        f"{cost.arguments / 1e6:,.0f}",
        f"{flop / 1e9:,.1f}",
        f"{bound}{cost.accessed / 1e9:,.2f}",
        f"{bound}{max(flop / PEAK, cost.accessed / BANDWIDTH) * 1e3:.2f}",
        f"{cost.cycles / CLOCK * 1e3:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints the table, each line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(SHAPES), metavar="CASE", help=f"{SHAPES}")
    parser.add_argument("--kernels", nargs="+", default=list(KERNELS))
    parser.add_argument("--topology", default="v5e:2x2", help="of which one chip is compiled for")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        # Read when JAX is imported: it looks for no chip, and the compiler writes schedules here.
        os.environ |= {
            "JAX_PLATFORMS": "cpu",
            "TPU_SKIP_MDS_QUERY": "1",
            "LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
            "--xla_jf_dump_hlo_text=false --xla_jf_dump_llo_pass_label_regex=final_bundles",
        }
        from jax.experimental import topologies

        topology = topologies.get_topology_desc(arguments.topology, "tpu")
        print(
            "| case, batch × tokens × heads × width | kernel | temporaries, MB | arguments, MB "
            "| FLOP, G | bytes, GB | roofline, ms | schedule, ms |"
        )
        print("| --- | --- |" + " ---: |" * 6)
        for case in arguments.cases:
            for name in arguments.kernels:
                shape = SHAPES[case]
                try:
                    cost = compiled(name, shape, topology.devices[0], pathlib.Path(folder))
                except RuntimeError as error:  # from XLA, with the memory available and needed
                    found = re.search(r"temporaries \(([\d.]+)G\)", str(error))
                    if not found:
                        raise
                    print(f"| {label(case, shape)} | {name} | {found[1]} GiB: too much | | | | | |")
                else:
                    print(row(case, name, shape, cost), flush=True)


if __name__ == "__main__":
    main()
