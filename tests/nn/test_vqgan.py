"""The image tokenizer against the reference's numbers."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from liquid_mlx.config import LiquidConfig, VQGANConfig
from liquid_mlx.convert import convert
from liquid_mlx.convert.read.layout import expected_shapes, to_mlx_layout
from liquid_mlx.errors import CheckpointError, ImageError
from liquid_mlx.files import read_json
from liquid_mlx.images import load_pixels, to_float, to_uint8
from liquid_mlx.nn import conv as convolution
from liquid_mlx.nn.vqgan import VQGAN, ResBlock, VectorQuantizer
from liquid_mlx.weights import load_vqgan
from tests.conftest import GOLDEN
from tests.recipe import golden as full_golden
from tests.recipe import recipe, weights

MARGIN = 1e-3  # nearer calls than this may go either way
SMALL = VQGANConfig(
    ch=32,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(),
    resolution=16,
    z_channels=8,
    embed_dim=8,
    n_embed=16,
)


@pytest.fixture(scope="module", params=["vq_f16", "vq_attn"])
def case(request, tmp_path_factory):
    """(model, goldens) of one image tokenizer, converted and loaded as a user's would be."""
    folder = tmp_path_factory.mktemp("vq") / "model"
    convert(GOLDEN / "gemma_tiny", folder, vqgan=GOLDEN / request.param / "chameleon")
    vqgan = load_vqgan(folder, LiquidConfig.read(folder))
    return vqgan, dict(np.load(GOLDEN / request.param / "golden_vq.npz"))


def of_kind(golden, *ends):
    return sorted(key for key in golden if key.endswith(ends))


def assert_codes(codes, golden, stem):
    wrong = np.array(codes).ravel() != golden[f"{stem}/codes"]
    assert not (wrong & (golden[f"{stem}/margin"] > MARGIN)).any(), stem


def encoded(vqgan, pixels):
    return vqgan.encode(mx.array(to_float(pixels))[None])


def test_pixels_become_the_references_codes(case):
    """Every stored array of pixels: both fits, both resolutions, and grids of any shape."""
    vqgan, golden = case
    stems = [key.removesuffix("/pixels") for key in of_kind(golden, "/pixels")]
    assert {stem.split("/")[0] for stem in stems} == {"i2t", "crop", "any"}
    for stem in stems:
        pixels = golden[f"{stem}/pixels"]
        codes = encoded(vqgan, pixels)
        assert codes.dtype == mx.int32
        assert codes.shape == (1, pixels.shape[0] // vqgan.factor, pixels.shape[1] // vqgan.factor)
        assert_codes(codes, golden, stem)


@pytest.mark.slow
def test_picture_files_of_every_mode_become_the_references_codes(case):
    vqgan, golden = case
    stems = [key.removesuffix("/codes") for key in of_kind(golden, "/codes")]
    seen = set()
    for stem in stems:
        if stem.startswith(("i2t", "crop")):
            path, size, file = stem.split("/")
            fit = "pad" if path == "i2t" else "crop"
            pixels = load_pixels(GOLDEN / "images" / file, int(size), fit=fit, exif=False)
            assert_codes(encoded(vqgan, pixels), golden, stem)
            seen.add((path, file))
    assert len(seen) == 2 * len(read_json(GOLDEN / "images" / "images.json"))


def test_latents_are_the_references(case):
    vqgan, golden = case
    stems = [key.removesuffix("/latents") for key in of_kind(golden, "/latents")]
    assert stems
    for stem in stems:
        latents = vqgan.latents(mx.array(to_float(golden[f"{stem}/pixels"]))[None])[0]
        expected = golden[f"{stem}/latents"].transpose(1, 2, 0)
        np.testing.assert_allclose(np.array(latents), expected, atol=1e-4)


def test_codes_become_the_references_pixels(case):
    vqgan, golden = case
    stems = [key.removesuffix("/codes") for key in of_kind(golden, "/codes") if "decode" in key]
    assert len(stems) >= 3
    for stem in stems:
        rows, columns = map(int, stem.split("/")[1].split("x"))
        pixels = np.array(vqgan.decode(mx.array(golden[f"{stem}/codes"].reshape(1, rows, columns))))
        assert pixels.shape == (1, rows * vqgan.factor, columns * vqgan.factor, 3)
        expected = golden[f"{stem}/float"].transpose(1, 2, 0)
        np.testing.assert_allclose(pixels[0], expected, atol=3e-5)
        difference = to_uint8(pixels[0]).astype(int) - golden[f"{stem}/uint8"]
        assert abs(difference).max() <= 1


def test_a_batch_gives_what_its_pictures_give_alone(case):
    vqgan, golden = case
    keys = [key for key in of_kind(golden, "/pixels") if key.startswith("i2t")][:3]
    pixels = mx.array(np.stack([to_float(golden[key]) for key in keys]))
    codes = vqgan.encode(pixels)
    for i, key in enumerate(keys):
        assert_codes(codes[i], golden, key.removesuffix("/pixels"))
    both = np.array(vqgan.decode(codes))
    for i in range(len(keys)):
        np.testing.assert_allclose(both[i], np.array(vqgan.decode(codes[i : i + 1]))[0], atol=1e-5)


def test_sides_that_do_not_divide_into_codes_are_refused(case):
    with pytest.raises(ImageError, match="resize"):
        case[0].encode(mx.zeros((1, case[0].factor, case[0].factor + 1, 3)))


def test_the_first_of_equally_near_codes_wins():
    quantizer = VectorQuantizer(SMALL)
    quantizer.embedding.weight = mx.repeat(mx.eye(8), 2, axis=0)  # every row twice
    codes = quantizer(mx.eye(8)[None])
    assert codes.tolist() == [[0, 2, 4, 6, 8, 10, 12, 14]]


def test_many_latents_are_quantized_as_few(monkeypatch):
    quantizer = VectorQuantizer(SMALL)
    quantizer.embedding.weight = mx.random.normal((16, 8), key=mx.random.key(0))
    latents = mx.random.normal((3, 5, 7, 8), key=mx.random.key(1))
    whole = quantizer(latents)
    monkeypatch.setattr("liquid_mlx.nn.vqgan.CHUNK", 10)
    assert whole.shape == (3, 5, 7)
    assert mx.array_equal(quantizer(latents), whole)


def test_names_and_shapes_are_those_of_the_official_checkpoint():
    official = read_json(GOLDEN / "official_tensors.json")["vq"]
    shapes = expected_shapes(VQGANConfig.from_params(recipe()["vq_params"]))
    assert len(shapes) == 293
    assert shapes == {name: _in_mlx_layout(shape) for name, shape in official.items()}


def _in_mlx_layout(shape):
    if len(shape) != 4:
        return tuple(shape)
    outputs, inputs, *kernel = shape
    return (outputs, *kernel, inputs)


def test_layout_moves_the_channels_of_convolutions_only():
    weight = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    moved = to_mlx_layout("encoder.conv_in.weight", weight)
    assert moved.shape == (2, 4, 5, 3)
    assert moved.flags.c_contiguous
    assert moved[1, 2, 3, 0] == weight[1, 0, 2, 3]
    table = weight[0, 0]
    assert to_mlx_layout("quantize.embedding.weight", table) is table


@pytest.mark.parametrize(
    "change",
    [
        {"ch": 48},
        {"ch_mult": ()},
        {"resolution": 15},
        {"in_channels": 1},
        {"num_res_blocks": 10**9},
    ],
)
def test_configurations_that_cannot_be_built_are_refused(change):
    params = {name: getattr(replace(SMALL), name) for name in SMALL.__dataclass_fields__}
    with pytest.raises(CheckpointError):
        VQGANConfig.from_params({**params, **change})


@settings(max_examples=25, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from([4, 8]),
    strip=st.sampled_from([1, 64, 200, 1 << 19]),
    seed=st.integers(0, 1000),
)
def test_convolutions_equal_the_plain_one(sides, channels, strip, seed):
    keys = mx.random.split(mx.random.key(seed), 3)
    x = mx.random.normal((*sides, channels), key=keys[0])
    weight = mx.random.normal((5, 3, 3, channels), key=keys[1])
    bias = mx.random.normal((5,), key=keys[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "STRIP", strip)
        expected = mx.conv2d(x, weight, padding=1) + bias
        for way in (convolution._nine_products, convolution._one_product):
            got = way(x, weight, bias)
            np.testing.assert_allclose(np.array(got), np.array(expected), atol=1e-4)
        patch.setattr(convolution, "_on_cpu", lambda: True)
        x = mx.concatenate([x, x], axis=1)
        x = mx.concatenate([x, x], axis=2)
        got = convolution.downsample3x3(x, weight, bias)
        padded = mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
        expected = mx.conv2d(padded, weight, stride=2) + bias
        np.testing.assert_allclose(np.array(got), np.array(expected), atol=1e-4)


@pytest.fixture(scope="module")
def official():
    """The official geometry (68.7 M parameters) with the recipe's weights."""
    vqgan = VQGAN(VQGANConfig.from_params(recipe()["vq_params"]))
    tensors = [(name, mx.array(to_mlx_layout(name, w))) for name, w in weights("vq").items()]
    vqgan.load_weights(tensors, strict=True)
    mx.eval(vqgan.parameters())
    assert sum(w.size for _, w in tree_flatten(vqgan.parameters())) == 68_718_467
    return vqgan


@pytest.mark.slow
@pytest.mark.parametrize("file", ["rgb_wide.png"])
def test_official_geometry_encodes_as_the_reference(official, file):
    golden, stem = full_golden(), f"encode/{file}"
    pixels = load_pixels(GOLDEN / "images" / file, 512, exif=False)
    latents = official.latents(mx.array(to_float(pixels))[None])
    first = np.array(latents[0, 0]).T
    np.testing.assert_allclose(first, golden[f"{stem}/latents_first_row"], atol=1e-4)
    assert_codes(official.quantize(latents), golden, stem)


@pytest.mark.slow
def test_official_geometry_decodes_as_the_reference_within_its_memory(official):
    golden = full_golden()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    pixels = np.array(official.decode(mx.array(golden["t2i/codes"][0].reshape(1, 32, 32))))[0]
    assert mx.get_peak_memory() - before < 1.0e9
    every_8th = pixels[::8, ::8].transpose(2, 0, 1)
    np.testing.assert_allclose(every_8th, golden["decode/0/float_every_8th"], atol=1e-4)
    assert abs(to_uint8(pixels).astype(int) - golden["decode/0/uint8"]).max() <= 1


@pytest.mark.parametrize("part", ["weight", "bias", None])
def test_a_branch_is_left_out_only_if_it_adds_nothing(part):
    block = ResBlock(32, 32)
    mx.random.seed(0)
    block.norm2.bias = mx.random.normal((32,))
    if part:
        setattr(block.conv2, part, mx.random.normal(getattr(block.conv2, part).shape))
    x = mx.random.normal((1, 4, 4, 32))
    whole = x + block.conv2(block.norm2(block.conv1(block.norm1(x))))
    assert block.silent is (part is None)
    assert mx.array_equal(block(x), whole)
