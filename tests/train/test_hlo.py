"""What is counted in the HLO of compiled programs: texts written by hand, with known figures."""

import jax
import jax.numpy as jnp
import pytest

from wonn_jax.train.gpu_cost import attention_kernels
from wonn_jax.train.hlo import collectives, parse, size
from wonn_jax.train.workload import Kernel, kernels, roofline, work


def only(text: str) -> Kernel:
    (found,) = kernels(parse(text))
    return found


def program(*lines: str, computations: str = "") -> str:
    """A module with an entry of these lines."""
    body = "\n".join(f"  {line}" for line in lines)
    return f"HloModule test\n{computations}\nENTRY %main (a: f32[8]) -> f32[8] {{\n{body}\n}}\n"


@pytest.mark.parametrize(
    "shape, expected",
    [
        ("f32[8,4]{1,0}", 128),
        ("bf16[3]", 6),
        ("pred[]", 1),
        ("s4[3]", 2),
        ("f8e4m3fn[10]", 10),
        ("c64[2]", 16),
        ("(f32[2]{0}, /*index=1*/bf16[2]{0})", 12),
        ("token[]", 0),
    ],
)
def test_sizes(shape, expected):
    assert size(shape) == expected


def test_an_unknown_type_is_no_size():
    with pytest.raises(ValueError, match="unknown element type: 'weird'"):
        size("weird[3]")


LOOP = """
%body (p: (s32[], f32[64])) -> (s32[], f32[64]) {
  %p = (s32[], f32[64]{0}) parameter(0)
  %x = f32[64]{0} get-tuple-element(%p), index=1
  %y = f32[64]{0} negate(%x)
  ROOT %out = (s32[], f32[64]{0}) tuple(%x, %y)
}

%condition (p: (s32[], f32[64])) -> pred[] {
  %p.1 = (s32[], f32[64]{0}) parameter(0)
  %limit = s32[] constant(7)
  ROOT %less = pred[] compare(%p.1, %limit), direction=LT
}
"""
WHILE = "%w = (s32[], f32[64]{0}) while(%t), condition=%condition, body=%body"


@pytest.mark.parametrize(
    "attributes, times",
    [("", 7), (', backend_config={"known_trip_count":{"n":"24"}}', 24)],
)
def test_loops_run_as_often_as_they_say(attributes, times):
    found = only(program(WHILE + attributes, computations=LOOP))
    assert (found.name, found.times, found.bytes) == ("y", times, 2 * 64 * 4)


def test_of_branches_the_one_that_writes_most_counts():
    branches = """
%small (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  ROOT %s = f32[4]{0} negate(%a)
}

%large (b: f32[64]) -> f32[64] {
  %b = f32[64]{0} parameter(0)
  ROOT %l = f32[64]{0} negate(%b)
}
"""
    line = "%c = f32[64]{0} conditional(%i, %u, %v), branch_computations={%small, %large}"
    assert only(program(line, computations=branches)).name == "l"


FUSIONS = {
    # A loop's row of an array of 24: 64 floats are read, not 24 × 64; the index is read, too.
    "slice": (
        """
%fused (x: f32[24,64], i: s32[]) -> f32[64] {
  %x = f32[24,64]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  %d = f32[1,64]{1,0} dynamic-slice(%x, %i, %zero), dynamic_slice_sizes={1,64}
  %r = f32[64]{0} bitcast(%d)
  ROOT %n = f32[64]{0} negate(%r)
}
""",
        "f32[64]{0} fusion(%a, %b)",
        2 * 64 * 4 + 4,
    ),
    # A row is written where it stands: the other 23 are neither read nor written.
    "in place": (
        """
%fused (x: f32[24,64], y: f32[64], i: s32[]) -> f32[24,64] {
  %x = f32[24,64]{1,0} parameter(0)
  %y = f32[64]{0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %r = f32[1,64]{1,0} bitcast(%y)
  ROOT %u = f32[24,64]{1,0} dynamic-update-slice(%x, %r, %i, %zero)
}
""",
        "f32[24,64]{1,0} fusion(%a, %b, %c)",
        2 * 64 * 4 + 4,
    ),
    # A reduction needs all of what it sums, in a type of half the width.
    "reduction": (
        """
%fused (x: bf16[32,64]) -> f32[64] {
  %x = bf16[32,64]{1,0} parameter(0)
  %c = f32[32,64]{1,0} convert(%x)
  %zero = f32[] constant(0)
  ROOT %r = f32[64]{0} reduce(%c, %zero), dimensions={0}, to_apply=%add
}
""",
        "f32[64]{0} fusion(%a)",
        32 * 64 * 2 + 64 * 4,
    ),
    # Two results of one pass: the operand is read once.
    "two results": (
        """
%fused (x: f32[64]) -> (f32[64], bf16[64]) {
  %x = f32[64]{0} parameter(0)
  %n = f32[64]{0} negate(%x)
  %c = bf16[64]{0} convert(%n)
  ROOT %t = (f32[64]{0}, bf16[64]{0}) tuple(%n, %c)
}
""",
        "(f32[64]{0}, bf16[64]{0}) fusion(%a)",
        64 * (4 + 4 + 2),
    ),
}


@pytest.mark.parametrize("case", FUSIONS)
def test_bytes_that_a_fusion_moves(case):
    body, line, expected = FUSIONS[case]
    lines = ["%a = f32[24,64]{1,0} parameter(0)", "%b = f32[64]{0} parameter(1)"]
    lines += ["%c = s32[] parameter(2)", f"%f = {line}, kind=kLoop, calls=%fused"]
    assert only(program(*lines, computations=body)).bytes == expected


OPERANDS = (
    "%l = bf16[100,256]{1,0} parameter(0)",
    "%r = bf16[256,384]{1,0} parameter(1)",
    "%x = f32[8,28,28,64]{3,2,1,0} parameter(2)",
    "%k = f32[128,3,3,64]{3,2,1,0} parameter(3)",
    "%y = f32[8,28,28,128]{3,2,1,0} parameter(4)",
    "%q = bf16[64,900,8,16]{3,2,1,0} parameter(5)",
)
PRODUCT = 2 * 100 * 256 * 384
CONVOLUTION = 2 * 8 * 28 * 28 * 128 * 3 * 3 * 64
LOGITS = 64 * 8 * 900 * 900
FMHA = '"intermediate_tensor_shape":{"element_type":"BF16","dimensions":["64","8","900","900"]}'
CONV = "window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f"
CALLS = {
    "dot": (
        "bf16[100,384]{1,0} dot(%l, %r), lhs_contracting_dims={1}, rhs_contracting_dims={0}",
        PRODUCT,
        "bf16",
        2 * (100 * 256 + 256 * 384 + 100 * 384),
    ),
    "cublas": (
        "(bf16[100,384]{1,0}, s8[4194304]{0}) custom-call(%l, %r), "
        'custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
        '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}',
        PRODUCT,
        "bf16",
        2 * (100 * 256 + 256 * 384 + 100 * 384),
    ),
    "convolution forward": (
        "(f32[8,28,28,128]{3,2,1,0}, u8[99]{0}) custom-call(%x, %k), "
        f'{CONV}, custom_call_target="__cudnn$convForward"',
        CONVOLUTION,
        "f32",
        4 * (8 * 784 * 64 + 128 * 9 * 64 + 8 * 784 * 128),
    ),
    "convolution to its input": (
        "(f32[8,28,28,64]{3,2,1,0}, u8[0]{0}) custom-call(%y, %k), "
        f'{CONV}, custom_call_target="__cudnn$convBackwardInput"',
        CONVOLUTION,
        "f32",
        4 * (8 * 784 * 64 + 128 * 9 * 64 + 8 * 784 * 128),
    ),
    "convolution to its kernel": (
        "(f32[128,3,3,64]{3,2,1,0}, u8[0]{0}) custom-call(%x, %y), "
        f'{CONV}, custom_call_target="__cudnn$convBackwardFilter"',
        CONVOLUTION,
        "f32",
        4 * (8 * 784 * 64 + 128 * 9 * 64 + 8 * 784 * 128),
    ),
    "attention forward": (
        "(bf16[64,8,900,16]{3,1,2,0}, u8[0]{0}) custom-call(%q, %q, %q), "
        f'custom_call_target="__cudnn$fmhaSoftmax", backend_config={{{FMHA}}}',
        2 * 2 * LOGITS * 16,
        "bf16",
        4 * 2 * 64 * 900 * 8 * 16,
    ),
    "attention backward": (
        "(bf16[64,8,900,16]{3,1,2,0}, u8[0]{0}) custom-call(%q, %q, %q), "
        f'custom_call_target="__cudnn$fmhaSoftmaxBackward", backend_config={{{FMHA}}}',
        5 * 2 * LOGITS * 16,
        "bf16",
        4 * 2 * 64 * 900 * 8 * 16,
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_products_of_libraries(case):
    line, flops, dtype, moved = CALLS[case]
    found = only(program(*OPERANDS, f"%call = {line}"))
    assert (found.flops, found.dtype, found.bytes) == (flops, dtype, moved)


COLLECTIVES = {
    "all-reduce": ("f32[64]{0} all-reduce(%a), to_apply=%add", "all-reduce", 256, 512),
    "all-reduce of two": ("(f32[64]{0}, f32[64]{0}) all-reduce(%a, %a)", "all-reduce", 512, 1024),
    "started all-reduce": ("f32[64]{0} all-reduce-start(%a)", "all-reduce", 256, 512),
    "all-gather": ("f32[512]{0} all-gather(%a), dimensions={0}", "all-gather", 2048, 2048),
    "started all-gather": (
        "(f32[64]{0}, f32[512]{0}) all-gather-start(%a)",
        "all-gather",
        2048,
        2048,
    ),
    "several": (
        "((f32[64]{0}, f32[64]{0}), (f32[512]{0}, f32[512]{0})) all-gather-start(%a, %a)",
        "all-gather",
        4096,
        4096,
    ),
    "one operand in a tuple": (
        "((f32[64]{0}), f32[8]{0}) reduce-scatter-start(%a), dimensions={0}",
        "reduce-scatter",
        32,
        256,
    ),
    "reduce-scatter": ("f32[8]{0} reduce-scatter(%a), to_apply=%add", "reduce-scatter", 32, 256),
    "permute": (
        "(f32[64]{0}, f32[64]{0}, u32[], u32[]) collective-permute-start(%a)",
        "collective-permute",
        256,
        256,
    ),
}


@pytest.mark.parametrize("case", COLLECTIVES)
def test_collectives(case):
    line, kind, results, sent = COLLECTIVES[case]
    module = parse(program("%a = f32[64]{0} parameter(0)", f"%c = {line}"))
    assert collectives(module) == {kind: (1, results)}
    (found,) = kernels(module)
    assert (found.target, found.sent) == (kind, sent)


def test_sums_and_the_roofline():
    found = [
        Kernel("a", "fusion", times=10, bytes=100, flops=0, dtype=""),
        Kernel("b", "__cublas$gemm", times=2, bytes=10, flops=6000, dtype="bf16"),
        Kernel("c", "all-reduce", times=1, bytes=40, flops=0, dtype="", sent=80),
    ]
    total = work(found)
    assert total == (13, 1060, {"bf16": 12000}, {"__cublas$gemm": 2, "all-reduce": 1}, 80)
    # 10 × 100 bytes at 50/s, 2 × 6000 operations at 1000/s, 80 bytes at 4/s.
    assert roofline(found, lambda dtype: 1000.0, 50.0, 4.0) == pytest.approx(20 + 12 + 20)


def test_attention_is_named_in_programs():
    text = 'metadata={op_name="jit(f)/transpose(jvp(attention-cudnn))/mul"}\n'
    text += 'metadata={op_name="jit(f)/while/body/attention-ring-plain/dot"}'
    assert attention_kernels(text) == ["cudnn", "ring-plain"]


def test_a_program_of_this_machine():
    """XLA's own text: a product in a loop of 5 is counted 5 times."""

    def function(x):
        return jax.lax.scan(lambda x, _: (x @ x, None), x, length=5)[0]

    compiled = jax.jit(function).lower(jax.ShapeDtypeStruct((16, 16), jnp.float32)).compile()
    flops = work(kernels(parse(compiled.as_text()))).flops
    assert flops == {"f32": 5 * 2 * 16**3}
