"""Scalars for TensorBoard."""

import struct

from tensorboardX.proto.event_pb2 import Event

from wonn_jax.train.scalars import SummaryWriter


def events(folder):
    """The events of the only file in a folder, in the format of TensorFlow's records."""
    (path,) = folder.iterdir()
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("Q", data, at)
        found.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += 16 + length
    return found


def test_all_is_on_disk_after_flush(tmp_path):
    writer = SummaryWriter(str(tmp_path / "tensorboard"), purge_step=5)
    for step in range(5, 105):
        writer.add_scalar("train/loss", step / 7, step)
    writer.flush()  # and the process is killed
    version, start, *scalars = events(tmp_path / "tensorboard")
    assert version.file_version == "brain.Event:2"
    assert start.step == 5 and start.session_log.status == 1
    assert [x.step for x in scalars] == list(range(5, 105))
    assert {x.summary.value[0].tag for x in scalars} == {"train/loss"}
    assert abs(scalars[-1].summary.value[0].simple_value - 104 / 7) < 1e-5
