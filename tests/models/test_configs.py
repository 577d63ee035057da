"""Settings of the networks: what they build, which examples they take, what they refuse."""

import jax.numpy as jnp
import pytest

from wonn_jax.common.examples import Boards, Images
from wonn_jax.config import components
from wonn_jax.models import Oscillatory
from wonn_jax.models.grid import GridConfig
from wonn_jax.models.image import ImageConfig
from wonn_jax.models.resnet import ResNetConfig

BOARDS = Boards(9, 9, tokens=10, classes=9, givens=True)
IMAGES = Images(32, classes=10)
CONFIGS = [(GridConfig(), BOARDS), (ImageConfig(), IMAGES), (ResNetConfig(), IMAGES)]


def test_each_is_registered_by_its_name():
    for config, _ in CONFIGS:
        assert components("model")[config.name] is type(config)


@pytest.mark.parametrize(("config", "examples"), CONFIGS, ids=lambda x: getattr(x, "name", ""))
def test_what_is_built(config, examples):
    config.check()
    model = config.build(examples)
    assert model.classes == examples.classes and model.width == config.width
    assert isinstance(model, Oscillatory) == config.oscillatory
    assert type(config)(precision="bfloat16").build(examples).dtype == jnp.bfloat16
    for other in (BOARDS, IMAGES):
        if other is not examples:
            with pytest.raises(ValueError, match=f"model.name='{config.name}' is a network for"):
                config.build(other)


def test_boards_say_where_the_input_is_added_again():
    assert GridConfig().build(BOARDS).inject == "given"
    assert GridConfig().build(BOARDS._replace(givens=False)).inject == "all"


def test_variants():
    """Of which operations can be counted; and one that runs on any device."""
    config = ImageConfig(attention="pallas", precision="bfloat16", remat=2)
    assert (config.plain().attention, config.plain().remat) == ("plain", 0)
    assert config.portable().attention == "auto"
    convolution = ImageConfig(coupling="convolution", attention="auto")
    assert convolution.plain().attention == "auto"
    assert ResNetConfig().plain() == ResNetConfig().portable() == ResNetConfig()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GridConfig(width=100), r"width=100 is not divisible by twice .*model\.width=96"),
        (GridConfig(steps=(0,)), r"model\.steps=\(0,\) must be at least 1"),
        (GridConfig(layers=3, steps=(1, 2)), r"model\.steps=\(1, 2\) has 2 values for layers=3"),
        (GridConfig(norm="batch"), "norm='batch' is unknown"),
        (GridConfig(attention="cudnn"), "takes bfloat16 or float16, not float32"),
        (ImageConfig(layers=3, widening=True), r"widening=True needs at least 4 layers"),
        (ImageConfig(kernels=(2,)), r"kernels=\(2,\) must be odd"),
        (ImageConfig(kernels=(3,)), "no effect on a coupling by attention"),
        (ImageConfig(coupling="convolution", kernels=(3, 5)), "has 2 values for layers=6"),
        (ImageConfig(readout_side=2), "readout_side=2 must be 1 or 3"),
        (ResNetConfig(blocks=()), r"blocks=\(\) must be numbers from 1"),
        (ResNetConfig(precision="float16"), "precision='float16' is unknown"),
    ],
    ids=str,
)
def test_wrong_settings(config, message):
    with pytest.raises(ValueError, match=message):
        config.check()


def test_sizes_that_do_not_fit_the_image():
    with pytest.raises(ValueError, match=r"patch=64 is larger than the image.*image_size=32"):
        ImageConfig(patch=64).build(IMAGES)
    with pytest.raises(ValueError, match=r"group=9 does not fit on a grid of 8×8.*at most 8"):
        ImageConfig(patch=4, group=9).build(IMAGES)


def test_grids_that_cannot_be_split():
    GridConfig().check_split(BOARDS, 3)
    with pytest.raises(ValueError, match=r"mesh\.grid=2 does not split .*it can be 1, 3, 9"):
        GridConfig().check_split(BOARDS, 2)
    with pytest.raises(ValueError, match=r"mesh\.grid=3 does not split .*image_size=32"):
        ImageConfig().check_split(IMAGES, 3)
    pallas = GridConfig(attention="pallas", precision="bfloat16")
    with pytest.raises(ValueError, match="'pallas' cannot go round a ring of devices"):
        pallas.check_split(BOARDS, 3)
    ResNetConfig().check_split(IMAGES, 1)
    with pytest.raises(ValueError, match=r"mesh\.grid=2 splits .*'resnet' does not support"):
        ResNetConfig().check_split(IMAGES, 2)


def test_what_nothing_reads():
    assert ImageConfig().unused() == {}
    unread = ImageConfig(coupling="convolution").unused()
    assert set(unread) == {"heads", "attention", "keep_attention"}
    assert all("coupling=convolution" in why for why in unread.values())
