"""One side of a comparison, in a process of its own: PyTorch, compiled or not, or this package.

Modules are imported inside functions, and the PyTorch side imports nothing of this package: each
process holds only what its side needs, since its memory is measured.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TextIO

from experiments.benchmarks.cases import rows

Job = dict[str, Any]
"""`config`: the experiment as a dictionary; `mode`, 'train' or 'inference'; `backend`, 'cpu' or
'gpu'; `threads` of PyTorch; CPU `devices` of JAX."""


class Side(NamedTuple):
    """A side that is ready to be measured.

    launch: dispatches a step and returns its result, to be passed to `wait`.
    wait: waits until all dispatched work is done; returns the loss.
    peak: peak memory so far, bytes: of the process, or allocated on the GPU.
    imports: the same before the model was built.
    about: versions, parameters and GPU.
    """

    launch: Callable[[], Any]
    wait: Callable[[Any], float]
    peak: Callable[[], int]
    imports: int
    about: dict[str, Any]


def environment() -> dict[str, str]:
    """Environment of a process: one GPU, of which JAX does not preallocate memory."""
    return os.environ | {
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


@contextlib.contextmanager
def replies() -> Iterator[TextIO]:
    """Standard output for replies only: what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as stream:
        os.dup2(2, 1)
        yield stream


def host_peak() -> int:
    """Peak of the resident memory of this process, bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def jax_side(job: Job) -> Side:
    """A step of the training loop, with metrics and EMA; or an evaluation step."""
    import jax

    gpu = job["backend"] == "gpu"
    jax.config.update("jax_platforms", "cuda" if gpu else "cpu")
    if not gpu:
        jax.config.update("jax_num_cpu_devices", job["devices"])

    import jaxlib
    import ml_collections

    from wonn_jax.evaluators.accuracy import make_accuracy_step
    from wonn_jax.parallel import mesh as sharding
    from wonn_jax.train.card import freeze
    from wonn_jax.train.experiment import CompiledStep, Experiment

    def peak() -> int:
        if not gpu:
            return host_peak()
        statistics = jax.devices()[0].memory_stats()
        if not statistics:
            raise ValueError(
                "JAX does not count its GPU memory; unset XLA_PYTHON_CLIENT_ALLOCATOR."
            )
        return statistics["peak_bytes_in_use"]

    imports = peak()
    config = freeze(ml_collections.ConfigDict(job["config"]))
    experiment = Experiment(config, examples=50_000).check()
    state: Any = experiment.initial_state()
    batch = sharding.put_batch(rows(job["config"]), experiment.mesh)
    about = {
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
        },
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "gpu": jax.devices()[0].device_kind if gpu else None,
    }
    if job["mode"] == "inference":
        variables = state.variables("raw")
        state = None  # optimizer and EMA are not part of it
        step = CompiledStep(make_accuracy_step(experiment))

        def evaluate() -> Any:
            return step(variables, batch)

        def answer(result: Any) -> float:
            counts, _ = jax.block_until_ready(result)
            return experiment.task.summarise({k: float(x) for k, x in counts[0].items()})["loss"]

        return Side(evaluate, answer, peak, imports, about)

    def train() -> Any:
        nonlocal state
        state, metrics = experiment.train_step(state, batch)
        return metrics

    def finish(metrics: Any) -> float:
        jax.block_until_ready(state)
        counts = {name: float(x) for name, x in metrics.items()}
        return experiment.task.training_metrics(counts)["loss"]

    return Side(train, finish, peak, imports, about)


def torch_side(job: Job, compiled: bool = False) -> Side:
    """Forward pass, backward pass and optimizer in PyTorch; or the forward pass and the loss.

    bfloat16 is autocast as PyTorch does it: after the first layer phases are bfloat16 too, which
    this package keeps in float32. CutMix and erasing, which the training step of the
    ImageNet card includes, are not done here, nor is an EMA kept.
    """
    import torch
    import torch.nn.functional as F

    from experiments.benchmarks.torch_wonn import GridModel

    gpu, config = job["backend"] == "gpu", job["config"]
    device = torch.device("cuda" if gpu else "cpu")
    torch.set_num_threads(job["threads"])
    if gpu and not torch.cuda.is_available():
        raise ValueError(f"PyTorch {torch.__version__} finds no GPU; use --backend=cpu.")

    def peak() -> int:
        return torch.cuda.max_memory_allocated() if gpu else host_peak()

    imports = peak()
    torch.manual_seed(0)
    model = torch_model(config).to(device)
    training = job["mode"] == "train"
    model.train(training)
    optimizer = torch_optimizer(model, config["optimizer"]) if training else None
    about = {
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "parameters": sum(x.numel() for x in model.parameters()),
        "gpu": torch.cuda.get_device_name() if gpu else None,
    }
    batch = {name: torch.from_numpy(x).to(device) for name, x in rows(config).items()}
    m, data = config["model"], config["data"]
    inputs, target = batch["input"].long(), batch["target"].long()
    scale = m["phase_scale"] if m["initial_phase"] == "noise" else 0.0
    phases = (inputs.shape[0], m["width"], inputs.shape[1], inputs.shape[2])
    images = not isinstance(model, GridModel)
    if images:
        inputs = batch["input"].movedim(-1, 1)
        phases = (*phases[:2], *(side // m["patch"] for side in inputs.shape[2:]))
        mean, std = (
            torch.tensor(data[name], device=device)[:, None, None] for name in ("mean", "std")
        )
        smoothing = config["task"]["label_smoothing"] if training else 0.0

    def loss_of(network: Any, count: int | None = None) -> Any:
        """The loss of the first `count` examples; None for all."""
        theta = scale * torch.randn(phases, device=device)[:count]
        low = m["precision"] == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            if not images:
                logits = network(inputs[:count], theta).logits.float()
                return model.loss(logits, target[:count])
            normalised = (inputs[:count].float() / 255 - mean) / std
            logits = network(normalised, theta).logits.float()
            return F.cross_entropy(logits, target[:count], label_smoothing=smoothing)

    network: Any = model
    if compiled:
        # One uncompiled pass creates the tables of position codes, which stay out of the graph.
        with torch.no_grad():
            model.eval()
            loss_of(model, 1)
            model.train(training)
        network = torch.compile(model)

    def step() -> Any:
        if optimizer is None:
            with torch.no_grad():
                return loss_of(network)
        optimizer.zero_grad()
        loss = loss_of(network)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def wait(loss: Any) -> float:
        if gpu:
            torch.cuda.synchronize()
        return loss.item()

    return Side(step, wait, peak, imports, about)


def torch_model(config: dict[str, Any]) -> Any:
    """The PyTorch model of a configuration as a dictionary.

    Raises:
      ValueError: `torch_wonn` has no such model.
    """
    from experiments.benchmarks.torch_wonn import BOARDS, GridModel, ImageModel, growing_widths

    m, task = config["model"], config["task"]["name"]
    winfree = m["name"] in ("winfree_grid", "winfree_image")
    if not winfree or m["norm"] not in ("group", "none") or len(m["steps"]) != 1:
        raise ValueError(
            f"There is no PyTorch model for model.name={m['name']}, model.norm={m.get('norm')}, "
            f"model.steps={m.get('steps')}: it must be a Winfree network with norm group or none "
            "and one number of steps. Leave PyTorch out with --sides jax."
        )
    steps, width, layers = m["steps"][0], m["width"], m["layers"]
    common = {"heads": m["heads"], "step_size": m["step_size"], "norm": m["norm"] == "group"}
    if task in BOARDS:
        return GridModel(task, width, layers, steps, **common)
    return ImageModel(
        growing_widths(width, (4 if m["widening"] else 1) * width, layers),
        config["data"]["classes"],
        steps,
        learned=m["interaction"] == "mlp",
        convolution=m["coupling"] == "convolution",
        kernels=tuple(m["kernels"]) * (layers if len(m["kernels"]) == 1 else 1),
        group=m["group"],
        patch=m["patch"] if m["patch"] > 1 else 0,
        output_side=m["readout_side"],
        phase_bias=m["transition_bias"],
        **common,
    )


def torch_optimizer(model: Any, config: dict[str, Any]) -> Any:
    """Adam or AdamW as in the card, at a constant learning rate."""
    import torch

    common = {
        "lr": config["learning_rate"],
        "betas": (config["b1"], config["b2"]),
        "eps": config["eps"],
    }
    if config["name"] == "adamw":
        return torch.optim.AdamW(model.parameters(), weight_decay=config["weight_decay"], **common)
    return torch.optim.Adam(model.parameters(), **common)


def torch_compile_side(job: Job) -> Side:
    """`torch_side` with `torch.compile`."""
    return torch_side(job, compiled=True)


SIDES = {"torch": torch_side, "torch-compile": torch_compile_side, "jax": jax_side}
