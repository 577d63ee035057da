"""The Winfree networks (arXiv 2605.20922) in plain PyTorch, to measure against.

They compute what `wonn_jax.models` computes, in the way of the published implementation:
channels first, grouped convolutions for the maps of each channel, phases wrapped twice a step,
autograd over unrolled steps; but energies and trajectories only where they are asked for. They
need torch and numpy, nothing of this package:

    python -m experiments.benchmarks.torch_wonn verify tests/fixtures/*.npz

compares them with arrays of the published implementation, in float64.
"""

import argparse
import json
import re
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOLERANCE = 1e-8


def wrap(theta: Tensor) -> Tensor:
    """Phases to (−π, π], by the functions that the published implementation uses."""
    return torch.atan2(torch.sin(theta), torch.cos(theta))


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Two `[B, C, H, W]` → `[B, 2C, H, W]`, the two inputs of a channel side by side."""
    return torch.stack((first, second), dim=2).flatten(1, 2)


def channel_mlp(width: int, inputs: int, side: int, hidden: int) -> nn.Sequential:
    """For each channel by itself: inputs · side² → hidden → 1, on windows of side × side."""
    return nn.Sequential(
        nn.Conv2d(inputs * width, hidden * width, side, stride=side, groups=width),
        nn.ReLU(),
        nn.Conv2d(hidden * width, width, 1, groups=width),
    )


class Cosine(nn.Module):
    """S(θ) = cos θ."""

    def forward(self, theta: Tensor) -> Tensor:
        return torch.cos(theta)


class Sine(nn.Module):
    """I(θ) = sin θ."""

    def forward(self, theta: Tensor) -> Tensor:
        return torch.sin(theta)


class Sensitivity(nn.Module):
    """S(θ): of every channel an MLP of (sin θ, cos θ)."""

    def __init__(self, width: int, ratio: int = 2):
        super().__init__()
        self.net = channel_mlp(width, 2, 1, ratio)

    def forward(self, theta: Tensor) -> Tensor:
        return self.net(interleave(torch.sin(theta), torch.cos(theta)))


class Influence(nn.Module):
    """I(θ): of every channel an MLP of a patch of sin θ, or of (sin θ, cos θ) if learned."""

    def __init__(self, width: int, group: int, learned: bool, ratio: int = 2):
        super().__init__()
        self.group, self.learned = group, learned
        inputs = 2 if learned else 1
        self.net = channel_mlp(width, inputs, group, inputs * ratio * group**2)

    def forward(self, theta: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, C, ⌈H/N⌉, ⌈W/N⌉]`."""
        x = torch.sin(theta)
        if self.learned:
            x = interleave(x, torch.cos(theta))
        bottom, right = (-side % self.group for side in x.shape[2:])
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom))
        return self.net(x)


def rotary_tables(height: int, width: int, features: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[height · width, features]` of axial position codes, in float64."""
    angles = torch.zeros(height, width, features, dtype=torch.float64)
    rows = torch.arange(height, dtype=torch.float64)[:, None, None]
    columns = torch.arange(width, dtype=torch.float64)[None, :, None]
    first = features // 2
    for position, start, size in ((rows, 0, first), (columns, first, features - first)):
        turning = size // 2 * 2
        pair = torch.arange(turning) // 2
        speed = 10000.0 ** (-2 * pair.double() / max(turning, 1))
        angles[:, :, start : start + turning] = position * speed
    angles = angles.flatten(0, 1)
    return torch.cos(angles), torch.sin(angles)


class Attention(nn.Module):
    """Multi-head attention over the positions of `[B, C, H, W]`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.W_qkv = nn.Linear(width, 3 * width)
        self.W_o = nn.Linear(width, width)
        self._tables: dict[Any, tuple[Tensor, Tensor]] = {}

    def _rotate(self, x: Tensor, grid: torch.Size) -> Tensor:
        key = (*grid, x.dtype, x.device)
        if key not in self._tables:
            tables = rotary_tables(grid[0], grid[1], x.shape[-1])
            self._tables[key] = (tables[0].to(x), tables[1].to(x))
        cos, sin = self._tables[key]
        turned = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        return x * cos + turned * sin

    def forward(self, x: Tensor) -> Tensor:
        batch, width, *_ = x.shape
        grid = x.shape[2:]
        qkv = self.W_qkv(x.flatten(2).transpose(1, 2))
        qkv = qkv.reshape(batch, -1, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = self._rotate(query, grid), self._rotate(key, grid)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out = self.W_o(mixed.transpose(1, 2).flatten(2))
        return out.transpose(1, 2).unflatten(2, grid)


class Layer(nn.Module):
    """T steps of one layer of oscillators.

    Args:
      width: channels C.
      steps: T.
      step_size: γ.
      sensitivity, influence: S and I.
      mix: attention or convolution over the groups' influences.
      group: N, side of a group.
      norm_groups: of the norm behind `mix`; 0: no norm.
    """

    def __init__(
        self,
        width: int,
        steps: int,
        step_size: float,
        *,
        sensitivity: nn.Module,
        influence: nn.Module,
        mix: nn.Module,
        group: int,
        norm_groups: int,
    ):
        super().__init__()
        self.steps, self.group, self.step_size = steps, group, step_size
        self.S, self.I = sensitivity, influence
        norm = nn.GroupNorm(norm_groups, width) if norm_groups else nn.Identity()
        self.coupling = nn.Sequential(mix, norm, nn.ReLU())

    def forward(
        self, theta: Tensor, omega: Tensor, record: list[tuple[Tensor, Tensor]] | None
    ) -> Tensor:
        """θ after T steps; appends θ `[T, B, C, H, W]` and energies `[T, B]` to `record`."""
        phases, energies = [], []
        for _ in range(self.steps):
            theta = wrap(theta)
            influence = self.I(theta)
            field = self.coupling(influence)
            if record is not None:
                energies.append(-(influence * field).sum((1, 2, 3)))
            if self.group > 1:
                field = F.interpolate(field, scale_factor=self.group, mode="nearest")
                field = field[:, :, : theta.shape[2], : theta.shape[3]]
            theta = wrap(theta + self.step_size * (omega + self.S(theta) * field))
            phases.append(theta)
        if record is not None:
            record.append((torch.stack(phases), torch.stack(energies)))
        return theta


class PhaseEmbedding(nn.Module):
    """a cos θ + b sin θ + c per channel."""

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Conv2d(2 * width, width, 1, groups=width)

    def forward(self, theta: Tensor) -> Tensor:
        return self.proj(interleave(torch.cos(theta), torch.sin(theta)))


class PhaseTransition(nn.Module):
    """θ' = atan2(v, u), u and v one shared 3×3 convolution of cos θ and sin θ.

    With `normalise` u and v are divided by their length first, as most published models do; that
    changes neither value nor gradient, except near u = v = 0.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool, normalise: bool):
        super().__init__()
        self.normalise = normalise
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, theta: Tensor) -> Tensor:
        u, v = self.conv(torch.cos(theta)), self.conv(torch.sin(theta))
        if self.normalise:
            length = torch.sqrt(u.square() + v.square() + 1e-6)
            u, v = u / length, v / length
        return torch.atan2(v, u)


class FrequencyTransition(nn.Module):
    """ω' = ReLU(BatchNorm(conv3×3([e, ω]))), e the embedding of θ, a submodule called `name`."""

    def __init__(self, inputs: int, outputs: int, name: str):
        super().__init__()
        self.name = name
        self.add_module(name, PhaseEmbedding(inputs))
        self.fusion = nn.Sequential(
            nn.Conv2d(2 * inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, theta: Tensor, omega: Tensor) -> Tensor:
        return self.fusion(torch.cat((getattr(self, self.name)(theta), omega), dim=1))


def readout(width: int, first: int, second: int) -> nn.Sequential:
    """Features of the final phases, by two convolutions of these sides."""
    return nn.Sequential(
        PhaseEmbedding(width),
        nn.Conv2d(width, 2 * width, first, padding=first // 2, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Conv2d(2 * width, width, second, padding=second // 2, bias=False),
        nn.BatchNorm2d(width),
    )


class Output(NamedTuple):
    """logits `[B, classes]`, of boards `[B, classes, H, W]`; layers: θ `[T, B, C, H, W]` and
    energies `[T, B]`, if asked for."""

    logits: Tensor
    layers: list[tuple[Tensor, Tensor]] | None


class ImageModel(nn.Module):
    """The network for pictures; its parameters bear the names of the published implementation.

    Args:
      widths: channels of each layer.
      classes: number of classes.
      steps: T.
      learned: S and I by MLPs of each channel, rather than cos and a patch map of sin.
      convolution: coupling by convolutions of the sides `kernels`, rather than attention.
      group: N, side of a group.
      patch: side of the patches of the stem; 0: a 3×3 convolution of stride 1.
      phase_bias: whether the phase transitions have one.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        classes: int,
        steps: int,
        *,
        learned: bool = False,
        convolution: bool = False,
        kernels: tuple[int, ...] = (7, 5, 5, 3, 3, 3),
        heads: int = 8,
        group: int = 2,
        step_size: float = 0.1,
        norm: bool = True,
        patch: int = 0,
        output_side: int = 3,
        phase_bias: bool = False,
    ):
        super().__init__()
        if patch:
            stem = nn.Conv2d(3, widths[0], patch, stride=patch, bias=False)
        else:
            stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.f_init = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.layers = nn.ModuleList()
        for i, width in enumerate(widths):
            before = widths[max(i - 1, 0)]
            mix: nn.Module = Attention(width, heads)
            if convolution:
                mix = nn.Conv2d(width, width, kernels[i], padding="same", bias=False)
            dynamics = Layer(
                width,
                steps,
                step_size,
                sensitivity=Sensitivity(width) if learned else Cosine(),
                influence=Influence(width, group, learned),
                mix=mix,
                group=group,
                norm_groups=(8 if width % 8 == 0 else 1) if norm else 0,
            )
            phase: nn.Module = nn.Identity()
            frequency: nn.Module = nn.Identity()
            if i:
                phase = PhaseTransition(before, width, bias=phase_bias, normalise=True)
                frequency = FrequencyTransition(before, width, "theta_emb")
            self.layers.append(nn.ModuleList((phase, frequency, dynamics)))
        self.decoder = readout(widths[-1], output_side, 1)
        self.out = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor, theta: Tensor, record: bool = False) -> Output:
        """images `[B, 3, H, W]`, normalised; theta: initial phases `[B, C, H, W]`, rad."""
        records: list[tuple[Tensor, Tensor]] | None = [] if record else None
        omega = self.f_init(images)
        for i, (phase, frequency, dynamics) in enumerate(self.layers):
            if i:
                omega, theta = frequency(theta, omega), phase(theta)
            theta = dynamics(theta, omega, records)
        return Output(self.out(self.decoder(theta).mean((2, 3))), records)


class Tokens(nn.Module):
    """ω_0 of every cell: a row of a learned table."""

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.omega_template = nn.Parameter(torch.randn(tokens, width, 1, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, H, W]` integers → `[B, C, H, W]`."""
        rows = F.embedding(tokens, self.omega_template.flatten(1))
        return rows.permute(0, 3, 1, 2).contiguous()


class Board(NamedTuple):
    """Numbers of cell tokens and classes, the classes' weights in the loss, a submodule's name."""

    tokens: int
    classes: int
    weights: tuple[float, ...]
    readout: str


BOARDS = {
    "maze": Board(4, 5, (1.0, 5.0, 2.0, 2.0, 5.0), "decoder"),
    "sudoku": Board(10, 9, (1.0,) * 9, "output"),
}


class GridModel(nn.Module):
    """The network for boards, 'maze' or 'sudoku'; parameters as in `ImageModel`.

    S = cos, I = sin, a group of one oscillator, attention. From the second layer on the
    frequencies of the input are added again, to all cells (maze) or to the given ones (sudoku).
    """

    def __init__(
        self,
        task: str,
        width: int,
        layers: int,
        steps: int,
        *,
        heads: int = 8,
        step_size: float = 0.1,
        norm: bool = True,
    ):
        super().__init__()
        self.task, self.board = task, BOARDS[task]
        self.f_init = Tokens(self.board.tokens, width)
        self.layers = nn.ModuleList()
        for i in range(layers):
            dynamics = Layer(
                width,
                steps,
                step_size,
                sensitivity=Cosine(),
                influence=Sine(),
                mix=Attention(width, heads),
                group=1,
                norm_groups=max(n for n in range(1, 9) if width % n == 0) if norm else 0,
            )
            phase: nn.Module = nn.Identity()
            frequency: nn.Module = nn.Identity()
            if i:
                phase = PhaseTransition(width, width, bias=True, normalise=task == "sudoku")
                frequency = FrequencyTransition(width, width, "theta_embedding")
            self.layers.append(nn.ModuleList((phase, frequency, dynamics)))
        self.add_module(self.board.readout, readout(width, 1, 3))
        self.out = nn.Conv2d(width, self.board.classes, 1)

    def forward(
        self, tokens: Tensor, theta: Tensor, given: Tensor | None = None, record: bool = False
    ) -> Output:
        """tokens `[B, H, W]`; theta: initial phases `[B, C, H, W]`, rad; given `[B, H, W]`
        booleans, None: the cells with a token above 0."""
        records: list[tuple[Tensor, Tensor]] | None = [] if record else None
        omega = first = self.f_init(tokens)
        if self.task == "sudoku" and len(self.layers) > 1:
            first = first * (tokens > 0 if given is None else given)[:, None]
        for i, (phase, frequency, dynamics) in enumerate(self.layers):
            if i:
                omega, theta = frequency(theta, omega) + first, phase(theta)
            theta = dynamics(theta, omega, records)
        return Output(self.out(getattr(self, self.board.readout)(theta)), records)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Weighted cross-entropy `[B, classes, H, W]`, `[B, H, W]` over the number of cells."""
        weights = logits.new_tensor(self.board.weights)
        return F.cross_entropy(logits, target, weights, reduction="sum") / target.numel()


def growing_widths(first: int, last: int, layers: int) -> tuple[int, ...]:
    """[C, …, C], or [C, 2C, 2C, 4C, …, 4C] where `last` is 4C."""
    if last == first:
        return (first,) * layers
    if last != 4 * first or layers < 4:
        raise ValueError(
            f"{layers} layers cannot grow from {first} to {last} channels: the last width must be "
            f"{first} or {4 * first}, and growth takes at least 4 layers."
        )
    return (first, 2 * first, 2 * first, *[4 * first] * (layers - 3))


# The step size and the table of tokens once more, which do not count as parameters there; and
# the influence map of the Sudoku layers, which does, but which nothing reads.
COPIES = re.compile(r"gamma|conv0\..*")
UNREAD = re.compile(r".*\.i_func\..*")


def from_fixture(fixture: Any) -> ImageModel | GridModel:
    """The model of a fixture with its weights, in float64."""
    meta = json.loads(str(fixture["meta"]))
    m = meta["model"]
    stored = {
        name.removeprefix("param/"): torch.from_numpy(np.array(fixture[name]))
        for name in fixture.files
        if name.startswith("param/")
    }
    unread = {name for name in stored if UNREAD.fullmatch(name)}
    weights = {
        name: x for name, x in stored.items() if name not in unread and not COPIES.fullmatch(name)
    }
    step_size = float(fixture["param/gamma"][0])
    model: ImageModel | GridModel
    if meta["kind"] in BOARDS:
        model = GridModel(
            meta["kind"],
            m["ch"],
            m["L"],
            m["T"],
            heads=m.get("heads", 8),
            step_size=step_size,
        )
    elif meta["kind"] == "image":
        model = ImageModel(
            growing_widths(m["ch"], m.get("ch_final") or m["ch"], m["L"]),
            len(weights["out.bias"]),
            m["T"],
            learned=m["si_func"] == "mlp",
            convolution=m["coupling"] == "conv",
            kernels=tuple(m["kernel_sizes"]),
            heads=m.get("heads", 8),
            group=m["group_size"],
            step_size=step_size,
            norm=m.get("norm") != "none",
            patch=m.get("input_patch_size", 0) if not m["data"].startswith("cifar") else 0,
            output_side=m.get("output_ksize", 3),
            phase_bias=any(n.startswith("layers.1.0.") and n.endswith("bias") for n in weights),
        )
    else:
        known = ", ".join(("image", *BOARDS))
        raise SystemExit(f"The fixture is of kind {meta['kind']!r}; this checks {known}.")
    model = model.double()
    model.load_state_dict(weights)
    count = sum(p.numel() for p in model.parameters()) + sum(stored[n].numel() for n in unread)
    if count != meta["n_params"]:
        raise SystemExit(f"The model has {count} parameters; the fixture says {meta['n_params']}.")
    return model


def verify(path: str) -> bool:
    """Prints the greatest deviation of each array of a fixture; True if none is too great."""
    with np.load(path) as file:
        model = from_fixture(file)
        fixture = {name: file[name] for name in file.files}
    arrays = {k: torch.from_numpy(x) for k, x in fixture.items() if x.dtype.kind != "U"}
    inputs, theta, target = (arrays[k] for k in ("input", "theta0", "target"))
    options = {"given": arrays["is_input"]} if "is_input" in arrays else {}
    loss_of = model.loss if isinstance(model, GridModel) else F.cross_entropy
    with torch.no_grad():
        output = model.eval()(inputs, theta, record=True, **options)
    pairs = [("eval/logits", output.logits.movedim(1, -1))]
    for i, (phases, energies) in enumerate(output.layers or []):
        pairs.append((f"eval/layer{i}/theta", phases))
        zero = energies.new_zeros(1, energies.shape[1])  # the first energy in the fixture
        pairs.append((f"eval/layer{i}/energy", torch.cat((zero, energies))))
    output = model.train()(inputs, theta, **options)
    loss = loss_of(output.logits, target)
    loss.backward()
    pairs += [("train/logits", output.logits.movedim(1, -1)), ("train/loss", loss)]
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        pairs.append((f"train/grad/{name}", gradient))
    for name, buffer in model.named_buffers():
        pairs.append((f"train/buffer/{name}", buffer))
    missed = {n for n in arrays if n.startswith(("eval/", "train/"))} - {n for n, _ in pairs}
    if missed:
        raise SystemExit(f"{path} has {', '.join(sorted(missed))}, which the model lacks.")
    fine = True
    largest = max(x.abs().max() for name, x in arrays.items() if name.startswith("train/grad/"))
    for name, ours in pairs:
        theirs = arrays[name]
        if ours.shape != theirs.shape:
            raise SystemExit(f"{name} has shape {tuple(ours.shape)}, not {tuple(theirs.shape)}.")
        # Relative to the greatest value of an array; of a gradient that is zero, of all gradients.
        scale = theirs.abs().max()
        if name.startswith("train/grad/") and scale < 1e-12 * largest:
            scale = largest
        error = float((ours.detach() - theirs).abs().max() / scale)
        good = error <= TOLERANCE  # False for NaN
        fine = fine and good
        if not name.startswith(("train/grad", "train/buffer")) or not good:
            print(f"{error:9.1e}  {name}")
    worst = "all within" if fine else "NOT all within"
    print(f"{path}: {len(pairs)} arrays, {worst} {TOLERANCE:g}")
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["verify"])
    parser.add_argument("fixtures", nargs="+", metavar="FIXTURE.npz")
    arguments = parser.parse_args()
    fine = [verify(path) for path in arguments.fixtures]
    if not all(fine):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
