"""What a run writes down, and what a person reads."""

import pytest
from etils import epath

from wonn_jax.train.metrics import MetricWriter, scaled
from wonn_jax.train.scalars import SummaryWriter


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 flop"),
        (999, "999 flop"),
        (999.6, "1 kflop"),
        (41_234_567, "41.2 Mflop"),
        (989e12, "989 Tflop"),
        (4e15, "4 Pflop"),
        (4e18, "4 Eflop"),
    ],
)
def test_scaled(value, text):
    assert scaled(value, "flop") == text


def test_a_line_is_written_after_the_scalars_of_its_step(tmp_path, monkeypatch):
    """An evaluation whose line is there is not repeated, so a kill before it must lose nothing."""

    def killed(self):
        raise KeyboardInterrupt

    writer = MetricWriter(epath.Path(tmp_path), 0, tensorboard=True, active=True)
    monkeypatch.setattr(SummaryWriter, "flush", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.write(4, "test", {"loss": 0.5})
    lines = tmp_path / "metrics.jsonl"
    assert not lines.exists() or not lines.read_bytes()
