"""Each augmentation against its definition, and its draws against their distribution."""

import colorsys
import math
import pickle

import numpy as np
import pytest
from PIL import Image

from wonn_jax.data import augment
from wonn_jax.data.augment import (
    AUGMIX,
    OPERATIONS,
    RANDAUGMENT,
    Augment,
    Evaluate,
    ImageAugmentation,
)

NEAREST = Image.Resampling.NEAREST
RECIPES = {
    "cifar": ImageAugmentation(crop_scale=0.2, flip=True, jitter=(0.4, 0.4, 0.4, 0.1), augmix=True),
    "imagenet100": ImageAugmentation(crop_scale=0.08, flip=True),
    "imagenet1k": ImageAugmentation(
        crop_scale=0.08, crop_filter="bicubic", flip=True, randaugment=2, jitter=(0.4, 0.4, 0.4)
    ),
}


def picture(height=32, width=32, seed=0) -> np.ndarray:
    """Smooth colours, so that interpolation does not average them away."""
    cells = np.random.default_rng(seed).integers(20, 236, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR))


def image(**settings) -> Image.Image:
    return Image.fromarray(picture(**settings))


def luma(values: np.ndarray) -> np.ndarray:
    return values @ np.array([0.299, 0.587, 0.114])


def close(got, want, by=1.0) -> None:
    np.testing.assert_array_less(abs(np.asarray(got, float) - want), by + 1e-6)


def likely(successes: int, draws: int, probability: float) -> bool:
    """Within five standard deviations of the binomial."""
    spread = math.sqrt(draws * probability * (1 - probability))
    return abs(successes - draws * probability) < 5 * spread


@pytest.mark.parametrize("name", RECIPES)
def test_same_generator_same_picture(name):
    step = pickle.loads(pickle.dumps(Augment(RECIPES[name], 32)))
    whole = picture(40, 50)
    first, second, other = (step(whole, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    decoded = step(Image.fromarray(whole), np.random.default_rng(3))
    np.testing.assert_array_equal(first, decoded)
    np.testing.assert_array_equal(whole, picture(40, 50))  # the original is left alone


def test_nothing_asked_for_nothing_done():
    whole = picture()
    np.testing.assert_array_equal(
        Augment(ImageAugmentation(), 32)(whole, np.random.default_rng()), whole
    )


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (picture(31, 32), "31×32"),
        (picture().astype(float), "float64"),
        (picture()[..., 0], r"\[32, 32\]"),
        (image().convert("L"), "mode L"),
    ],
)
def test_other_pictures_are_refused(wrong, found):
    for step in (Augment(ImageAugmentation(flip=True), 32), Evaluate(32)):
        with pytest.raises(ValueError, match=found):
            step(wrong, np.random.default_rng())


def test_crop_area_and_ratio():
    rng = np.random.default_rng(0)
    height, width, scale, draws = 3000, 3000, 0.08, 4000
    boxes = np.array([augment.crop_box(height, width, scale, rng) for _ in range(draws)])
    top, left, h, w = boxes.T
    assert (boxes >= 0).all() and (top + h <= height).all() and (left + w <= width).all()
    area, ratio = h * w / (height * width), np.log(w / h)
    assert 0.0799 < area.min() < 0.09 and area.max() <= 1
    assert abs(ratio).max() < math.log(4 / 3) + 1e-3
    # Boxes of at most 3/4 of the area always fit: there, both are uniform, and independent.
    fits = area < 0.75
    for values, low, high in ((area, 0.08, 0.75), (ratio, -math.log(4 / 3), math.log(4 / 3))):
        for cut in (0.25, 0.5, 0.75):
            below = (values[fits] < low + cut * (high - low)).sum()
            assert likely(below, fits.sum(), cut)
    # And the place is uniform in what is left.
    assert likely((top[fits] < (height - h[fits]) / 2).sum(), fits.sum(), 0.5)
    assert likely((left[fits] < (width - w[fits]) / 2).sum(), fits.sum(), 0.5)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(100, 1000, (0, 433, 100, 133)), (1000, 100, (433, 0, 133, 100))],
)
def test_crop_that_never_fits_is_the_middle(height, width, box):
    assert augment.crop_box(height, width, 1.0, np.random.default_rng(0)) == box


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_crop_is_resized_with_the_filter(name):
    whole = picture(40, 60)
    config = ImageAugmentation(crop_scale=0.3, crop_filter=name)
    got = Augment(config, 16)(whole, np.random.default_rng(5))
    top, left, h, w = augment.crop_box(40, 60, 0.3, np.random.default_rng(5))
    part = Image.fromarray(np.ascontiguousarray(whole[top : top + h, left : left + w]))
    want = part.resize((16, 16), augment.FILTERS[name])
    np.testing.assert_array_equal(got, np.asarray(want))


def test_flip_is_half():
    step, whole, rng = (
        Augment(ImageAugmentation(flip=True), 32),
        picture(),
        np.random.default_rng(0),
    )
    flipped = 0
    for _ in range(1000):
        got = step(whole, rng)
        if (got == whole[:, ::-1]).all():
            flipped += 1
        else:
            np.testing.assert_array_equal(got, whole)
    assert likely(flipped, 1000, 0.5)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_colour_formulae(factor):
    base, v = image(), picture().astype(float)
    grey = luma(v)
    mean = int(grey.round().mean() + 0.5)
    for change, other in (
        (augment.brightness, 0.0),
        (augment.contrast, mean),
        (augment.saturation, grey[..., None]),
    ):
        want = (other + factor * (v - other)).clip(0, 255)
        close(change(base, factor), want, 2.0 if change is augment.contrast else 1.5)


def test_hue_turns_the_circle():
    base = image()
    np.testing.assert_array_equal(augment.hue(base, 1 / 510), augment.hue(base, 0.0))
    for turn in (-0.1, 0.25):
        got = np.asarray(augment.hue(base, turn)).reshape(-1, 3)[::37] / 255
        for new, old in zip(got, picture().reshape(-1, 3)[::37] / 255, strict=True):
            (h, s, v), (h0, s0, v0) = colorsys.rgb_to_hsv(*new), colorsys.rgb_to_hsv(*old)
            assert abs(v - v0) < 0.01 and abs(s - s0) < 0.03
            if s0 * v0 > 0.2:  # greyer ones have a hue of few bits
                assert abs((h - h0 - turn + 0.5) % 1 - 0.5) < 0.02


def test_jitter_factors_and_order(monkeypatch):
    rng, calls = np.random.default_rng(0), []
    for name in ("brightness", "contrast", "saturation", "hue"):
        monkeypatch.setattr(
            augment, name, lambda image, x, name=name: calls.append((name, x)) or image
        )
    draws, base = 2000, image()
    for _ in range(draws):
        augment.jitter(base, (0.4, 1.5, 0.2, 0.1), rng)
    first = calls[::4]
    bounds = {"brightness": (0.6, 1.4), "contrast": (0, 2.5), "saturation": (0.8, 1.2)}
    for name, (low, high) in (bounds | {"hue": (-0.1, 0.1)}).items():
        factors = np.array([x for n, x in calls if n == name])
        assert len(factors) == draws  # each once in every picture
        assert low <= factors.min() < factors.max() <= high
        assert likely((factors < low + (high - low) / 4).sum(), draws, 0.25)
        assert likely(sum(n == name for n, _ in first), draws, 0.25)
    calls.clear()
    augment.jitter(base, (0.4, 0.0, 0.4), rng)
    assert {name for name, _ in calls} == {"brightness", "saturation"}


def test_randaugment_names_and_strengths():
    names = "Identity ShearX ShearY TranslateX TranslateY Rotate Brightness Color Contrast "
    names += "Sharpness Posterize Solarize AutoContrast Equalize"
    assert " ".join(RANDAUGMENT) == names
    strength = augment.strengths(9 / 30, 150 / 331 * 224, 8)
    want = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.27)
    want |= {"ShearX": 0.09, "ShearY": 0.09, "Rotate": 9, "Posterize": 7, "Solarize": 178.5}
    want |= {"TranslateX": 30.453, "TranslateY": 30.453, "Identity": 0, "Equalize": 0}
    assert strength == pytest.approx(want | {"AutoContrast": 0}, rel=1e-4)
    assert augment.strengths(1.0, 10, 8)["Posterize"] == 4
    signed = {name for name, (_, signed) in OPERATIONS.items() if signed}
    assert signed == set(RANDAUGMENT[1:10])


def test_randaugment_draws_operations_and_signs(monkeypatch):
    calls = []
    for name, (_, signed) in OPERATIONS.items():
        fake = lambda image, x, resample, name=name: calls.append((name, x, resample)) or image  # noqa: E731
        monkeypatch.setitem(OPERATIONS, name, (fake, signed))
    rng, base = np.random.default_rng(0), image()
    for _ in range(1500):
        augment.randaugment(base, 2, 9, rng)
    assert len(calls) == 3000 and {resample for *_, resample in calls} == {NEAREST}
    for name, (_, signed) in OPERATIONS.items():
        strengths = [x for n, x, _ in calls if n == name]
        assert likely(len(strengths), 3000, 1 / 14)
        if signed:
            assert likely(sum(x < 0 for x in strengths), len(strengths), 0.5)


def operate(name, strength, base=None) -> np.ndarray:
    return np.asarray(OPERATIONS[name][0](base or image(), strength, NEAREST)).astype(int)


def test_geometry():
    v = picture().astype(int)
    right = operate("TranslateX", 5.9)  # whole pixels
    np.testing.assert_array_equal(right[:, 5:], v[:, :-5])
    assert not right[:, :5].any()
    down = operate("TranslateY", 3.0)
    np.testing.assert_array_equal(down[3:], v[:-3])
    np.testing.assert_array_equal(operate("Rotate", 90.0), np.rot90(v))
    centres = np.arange(32) + 0.5
    for name, axis in (("ShearX", 1), ("ShearY", 0)):
        got = operate(name, 0.3)
        got, source = (got, v) if axis else (got.transpose(1, 0, 2), v.transpose(1, 0, 2))
        for row in (0, 10, 31):
            place = np.floor(centres + 0.3 * (row + 0.5)).astype(int)
            want = np.where((place < 32)[:, None], source[row][place.clip(max=31)], 0)
            np.testing.assert_array_equal(got[row], want)


@pytest.mark.parametrize("side", [32, 80])  # below and above where tables change hands
def test_tables(side):
    base = image(height=side, width=side)
    v = np.asarray(base).astype(int)
    np.testing.assert_array_equal(operate("Posterize", 3, base), v // 32 * 32)
    np.testing.assert_array_equal(operate("Solarize", 100.5, base), np.where(v < 100.5, v, 255 - v))
    low, high = v.min((0, 1)), v.max((0, 1))
    close(operate("AutoContrast", 0, base), (v - low) * 255 / (high - low))
    flat = operate("Equalize", 0, base)
    for channel in range(3):
        values, counts = np.unique(v[..., channel], return_counts=True)
        step = counts[:-1].sum() // 255
        rank = (np.cumsum(counts) - counts + step // 2) // step
        want = np.minimum(rank, 255)[np.searchsorted(values, v[..., channel])]
        np.testing.assert_array_equal(flat[..., channel], want)
    one = Image.new("RGB", (side, side), (7, 0, 255))
    for name in ("AutoContrast", "Equalize"):
        np.testing.assert_array_equal(operate(name, 0, one), np.asarray(one))


def test_sharpness_and_colour_names():
    v, base = picture().astype(float), image()
    around = sum(
        np.roll(v, (i, j), (0, 1)) * (5 if i == j == 0 else 1)
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    )
    want = around / 13 + 1.5 * (v - around / 13)
    close(operate("Sharpness", 0.5)[1:-1, 1:-1], want.clip(0, 255)[1:-1, 1:-1], 1.5)
    for name, change in (
        ("Brightness", augment.brightness),
        ("Color", augment.saturation),
        ("Contrast", augment.contrast),
    ):
        np.testing.assert_array_equal(operate(name, 0.27), np.asarray(change(base, 1.27)))


def test_augmix_is_the_mixture_of_its_chains(monkeypatch):
    """Each operation paints one colour: the chains' weights can be read off the mixture."""
    base, chains = Image.new("RGB", (8, 8), (200, 200, 200)), []

    def paint(image, x, resample, name):
        depth = getattr(image, "depth", 0)
        if not depth:
            chains.append([])
        chains[-1].append((name, x, resample))
        colour = [0, 0, 0]
        colour[len(chains) - 1] = 255
        new = Image.new("RGB", image.size, tuple(colour))
        new.depth = depth + 1
        return new

    strengths = {name: 1.0 for name in OPERATIONS}  # none is left out for being 0
    monkeypatch.setattr(augment, "strengths", lambda share, reach, bits: strengths)
    for name, (_, signed) in OPERATIONS.items():
        fake = lambda image, x, resample, name=name: paint(image, x, resample, name)  # noqa: E731
        monkeypatch.setitem(OPERATIONS, name, (fake, signed))
    rng, own, weights, depths, names = np.random.default_rng(0), [], [], [], set()
    for _ in range(600):
        chains.clear()
        mix = augment.augmix(base, rng)
        assert len(chains) == 3 and (mix == mix[0, 0]).all()
        # mix_i = 200 own + 255 w_i with own + w_1 + w_2 + w_3 = 1
        share = (mix[0, 0].sum() - 255.0) / (600 - 255)
        own.append(share)
        weights.append((mix[0, 0] - 200 * share) / 255)
        depths += [len(chain) for chain in chains]
        names |= {name for chain in chains for name, *_ in chain}
        assert {resample for chain in chains for *_, resample in chain} == {
            Image.Resampling.BILINEAR
        }
    own, weights = np.array(own), np.array(weights)
    assert names == set(AUGMIX) == set(OPERATIONS) - {"Identity"}
    assert all(likely(depths.count(k), len(depths), 1 / 3) for k in (1, 2, 3))
    assert likely((own < 0.3).sum(), 600, 0.3) and -0.01 < own.min() < own.max() < 1.01
    ratio = weights[own < 0.7] / (1 - own[own < 0.7, None])
    # A part of Dirichlet(1, 1, 1) is below x with probability 1 - (1 - x)².
    assert all(likely((part < 0.3).sum(), len(part), 1 - 0.7**2) for part in ratio.T)


def test_augmix_strengths_and_constants(monkeypatch):
    seen = []
    real = augment.strengths
    monkeypatch.setattr(augment, "strengths", lambda *a: seen.append(a) or real(*a))
    rng = np.random.default_rng(0)
    white = Image.new("RGB", (12, 12), (255, 255, 255))
    got = [augment.augmix(image(seed=seed), rng) for seed in range(100)]
    assert {x.dtype for x in got} == {np.dtype(np.uint8)}
    assert {(share * 9, reach, bits) for share, reach, bits in seen} == {
        (k, 32 / 3, 4) for k in (0.0, 1.0, 2.0)
    }
    assert all(likely(sum(s[0] * 9 == k for s in seen), len(seen), 1 / 3) for k in (0, 1, 2))
    assert [real(k / 9, 1, 4)["Posterize"] for k in (0, 1, 2)] == [4, 4, 3]
    monkeypatch.setattr(augment, "_operate", lambda image, *a: image)
    np.testing.assert_array_equal(augment.augmix(white, rng), np.asarray(white))  # sums to 1


@pytest.mark.parametrize(("height", "width"), [(75, 100), (100, 75), (60, 60), (51, 300)])
def test_evaluation_resizes_and_cuts_the_middle(height, width):
    whole = picture(height, width)
    short = min(height, width)
    full = Image.fromarray(whole).resize(
        (50 * width // short, 50 * height // short), Image.Resampling.BILINEAR
    )
    left, top = (round((side - 44) / 2) for side in full.size)
    want = np.asarray(full)[top : top + 44, left : left + 44]
    got = Evaluate(44, 50)(whole)
    assert got.dtype == np.uint8
    close(got, want, 2.0)  # to rounding: cut out before it is resized, not after
    assert (got == want).mean() > 0.85
    np.testing.assert_array_equal(Evaluate(44, 50)(Image.fromarray(whole)), got)


def test_evaluation_without_resizing():
    np.testing.assert_array_equal(Evaluate(32)(picture()), picture())
    with pytest.raises(ValueError, match="resize=30"):
        Evaluate(32, 30)
