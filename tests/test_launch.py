"""What is set before JAX starts."""

import sys

from runs import run

START = """
import sys
import jax
import jax.numpy as jnp
from wonn_jax import config as configuration
from wonn_jax.launch import prepare_devices

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
config = configuration.default_config()
config.devices.compilation_cache = sys.argv[1]
prepare_devices(configuration.freeze(config), "off", None, None, None)
jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((3, 3))).compile()
print(events.count("/jax/compilation_cache/cache_hits"))
"""


def test_the_second_start_finds_what_the_first_compiled(tmp_path):
    folder = tmp_path / "some" / "cache"
    hits = []
    for _ in range(2):
        result = run([sys.executable, "-c", START, str(folder)])
        assert result.returncode == 0, result.stderr
        hits.append(int(result.stdout))
        assert any(folder.iterdir())
    assert hits[0] == 0 and hits[1] > 0
    result = run([sys.executable, "-c", START, ""])
    assert result.returncode == 0 and int(result.stdout) == 0


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    result = run([sys.executable, "-c", START, str(tmp_path / "file" / "cache")])
    assert "cannot be made" in result.stderr and "compilation_cache=FOLDER" in result.stderr
