"""What all tests share: four devices on the CPU, float64 and strict shapes on request."""

import pathlib
import signal

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from runs import QUICK, command, quickly, run, write_mazes

# Whoever runs the tests in the background may have Ctrl-C ignored, by all that they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A test of properties tries the same few examples each time, so that it takes seconds and is not
# red by chance; more, and others: pytest --hypothesis-profile=campaign --hypothesis-seed=1.
_ALL = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("few", max_examples=25, derandomize=True, **_ALL)
settings.register_profile("campaign", max_examples=500, print_blob=True, **_ALL)
settings.load_profile("few")

# Before the first operation: later the number of devices cannot be changed.
jax.config.update("jax_num_cpu_devices", 4)


@pytest.fixture
def strict_shapes():
    """Makes an accidental [n] against [n, 1] an error, not a silent outer sum."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Runs a test in both precisions; float32 must stay so where float64 is allowed."""
    with jax.enable_x64(True):
        yield request.param


@pytest.fixture
def x64():
    """Allows float64 inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def reference_fixtures() -> pathlib.Path:
    """Folder of the arrays computed with the reference implementation."""
    return pathlib.Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def mesh():
    """All devices along one axis, 'data'."""
    return jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Auto,))


@pytest.fixture(scope="session")
def mazes(tmp_path_factory) -> pathlib.Path:
    """40 and 16 mazes of 5×5 on disk."""
    return write_mazes(tmp_path_factory.mktemp("mazes"))


@pytest.fixture(scope="session")
def maze_run(tmp_path_factory) -> pathlib.Path:
    """The workdir of a finished run of `runs.command`, to be read; copy it to change it."""
    folder = tmp_path_factory.mktemp("maze")
    run(command(write_mazes(folder / "data"), folder / "run"), **QUICK).check_returncode()
    return folder / "run"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> pathlib.Path:
    """Folder where what the tests compile is kept for as long as they run."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def quick_compilation(compiled):
    """Steps of this process are compiled fast, and each only once."""
    with quickly(compiled):
        yield
