"""The Winfree network for images (arXiv 2605.20922) in plain PyTorch, to measure against.

It computes what `wonn_jax.models.image` computes, in the way of the published implementation:
channels first, grouped convolutions for the maps of each channel, phases wrapped twice a step,
autograd over unrolled steps; but energies and trajectories only where they are asked for. It
needs torch and numpy, nothing of this package:

    python -m experiments.benchmarks.torch_image verify tests/fixtures/image_trig_attn.npz

compares it with arrays of the published implementation, in float64.
"""

import argparse
import json
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
            tables = rotary_tables(*grid, x.shape[-1])
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
    """T steps of one layer of oscillators."""

    def __init__(
        self,
        width: int,
        steps: int,
        *,
        learned: bool,
        convolution: bool,
        kernel: int,
        heads: int,
        group: int,
        step_size: float,
        norm: bool,
    ):
        super().__init__()
        self.steps, self.group, self.step_size = steps, group, step_size
        self.S = Sensitivity(width) if learned else Cosine()
        self.I = Influence(width, group, learned)
        mix: nn.Module
        if convolution:
            mix = nn.Conv2d(width, width, kernel, padding="same", bias=False)
        else:
            mix = Attention(width, heads)
        groups = 8 if width % 8 == 0 else 1
        normalise = nn.GroupNorm(groups, width) if norm else nn.Identity()
        self.coupling = nn.Sequential(mix, normalise, nn.ReLU())

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
    """θ' = atan2(v, u), u and v one shared 3×3 convolution of cos θ and sin θ."""

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, theta: Tensor) -> Tensor:
        u, v = self.conv(torch.cos(theta)), self.conv(torch.sin(theta))
        norm = torch.sqrt(u.square() + v.square() + 1e-6)
        return torch.atan2(v / norm, u / norm)


class FrequencyTransition(nn.Module):
    """ω' = ReLU(BatchNorm(conv3×3([e, ω]))), e the embedding of θ."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.theta_emb = PhaseEmbedding(inputs)
        self.fusion = nn.Sequential(
            nn.Conv2d(2 * inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, theta: Tensor, omega: Tensor) -> Tensor:
        return self.fusion(torch.cat((self.theta_emb(theta), omega), dim=1))


class Output(NamedTuple):
    """logits `[B, classes]`; layers: θ `[T, B, C, H, W]` and energies `[T, B]`, if asked for."""

    logits: Tensor
    layers: list[tuple[Tensor, Tensor]] | None


class ImageModel(nn.Module):
    """The network; its parameters bear the names of the published implementation.

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
            dynamics = Layer(
                width,
                steps,
                learned=learned,
                convolution=convolution,
                kernel=kernels[i] if convolution else 0,
                heads=heads,
                group=group,
                step_size=step_size,
                norm=norm,
            )
            phase = PhaseTransition(before, width, phase_bias) if i else nn.Identity()
            frequency = FrequencyTransition(before, width) if i else nn.Identity()
            self.layers.append(nn.ModuleList((phase, frequency, dynamics)))
        last = widths[-1]
        self.decoder = nn.Sequential(
            PhaseEmbedding(last),
            nn.Conv2d(last, 2 * last, output_side, padding=output_side // 2, bias=False),
            nn.BatchNorm2d(2 * last),
            nn.ReLU(),
            nn.Conv2d(2 * last, last, 1, bias=False),
            nn.BatchNorm2d(last),
        )
        self.out = nn.Linear(last, classes)

    def forward(self, images: Tensor, theta: Tensor, record: bool = False) -> Output:
        """images `[B, 3, H, W]`, normalised; theta: initial phases `[B, C, H, W]`, rad."""
        records: list[tuple[Tensor, Tensor]] | None = [] if record else None
        omega = self.f_init(images)
        for i, (phase, frequency, dynamics) in enumerate(self.layers):
            if i:
                omega, theta = frequency(theta, omega), phase(theta)
            theta = dynamics(theta, omega, records)
        return Output(self.out(self.decoder(theta).mean((2, 3))), records)


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


def from_fixture(fixture: Any) -> ImageModel:
    """The model of a fixture with its weights, in float64."""
    meta = json.loads(str(fixture["meta"]))
    if meta["kind"] != "image":
        raise SystemExit(f"The fixture is of kind {meta['kind']!r}; this checks 'image'.")
    m = meta["model"]
    weights = {
        name.removeprefix("param/"): torch.from_numpy(np.array(fixture[name]))
        for name in fixture.files
        if name.startswith("param/") and not name.startswith(("param/gamma", "param/conv0."))
    }
    model = ImageModel(
        growing_widths(m["ch"], m.get("ch_final") or m["ch"], m["L"]),
        len(weights["out.bias"]),
        m["T"],
        learned=m["si_func"] == "mlp",
        convolution=m["coupling"] == "conv",
        kernels=tuple(m["kernel_sizes"]),
        heads=m.get("heads", 8),
        group=m["group_size"],
        step_size=m["gamma"],
        norm=m.get("norm") != "none",
        patch=m.get("input_patch_size", 0) if not m["data"].startswith("cifar") else 0,
        output_side=m.get("output_ksize", 3),
        phase_bias=any(n.startswith("layers.1.0.") and n.endswith("bias") for n in weights),
    ).double()
    model.load_state_dict(weights)
    count = sum(p.numel() for p in model.parameters())
    if count != meta["n_params"]:
        raise SystemExit(f"The model has {count} parameters; the fixture says {meta['n_params']}.")
    return model


def verify(path: str) -> bool:
    """Prints the greatest deviation of each array of a fixture; True if none is too great."""
    fixture = np.load(path)
    model = from_fixture(fixture).eval()
    images, theta, target = (torch.from_numpy(fixture[k]) for k in ("input", "theta0", "target"))
    with torch.no_grad():
        output = model(images, theta, record=True)
    pairs = [("eval/logits", output.logits)]
    for i, (phases, energies) in enumerate(output.layers or []):
        pairs.append((f"eval/layer{i}/theta", phases))
        zero = energies.new_zeros(1, energies.shape[1])  # the first energy in the fixture
        pairs.append((f"eval/layer{i}/energy", torch.cat((zero, energies))))
    output = model.train()(images, theta)
    loss = F.cross_entropy(output.logits, target)
    loss.backward()
    pairs += [("train/logits", output.logits), ("train/loss", loss)]
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        pairs.append((f"train/grad/{name}", gradient))
    for name, buffer in model.named_buffers():
        pairs.append((f"train/buffer/{name}", buffer))
    fine = True
    for name, ours in pairs:
        theirs = torch.as_tensor(fixture[name])
        if ours.shape != theirs.shape:
            raise SystemExit(f"{name} has shape {tuple(ours.shape)}, not {tuple(theirs.shape)}.")
        # Relative where the values are large: energies are sums over all oscillators.
        error = float((ours.detach() - theirs).abs().max()) / max(1.0, float(theirs.abs().max()))
        fine = fine and error <= TOLERANCE
        if not name.startswith(("train/grad", "train/buffer")) or error > TOLERANCE:
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
