"""Pictures in every mode and state, against the reference's pixels; and the PNG files we write."""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from liquid_mlx import images
from liquid_mlx.errors import ImageError, SettingsError
from liquid_mlx.files import read_json
from liquid_mlx.images import fit_image, load_image, load_pixels, read_settings, save_png
from tests.conftest import GOLDEN

PICTURES = GOLDEN / "images"
FILES = sorted(read_json(PICTURES / "images.json"))


@pytest.fixture(scope="module")
def golden():
    return {case: dict(np.load(GOLDEN / case / "golden_vq.npz")) for case in ("vq_f16", "vq_attn")}


def picture(width, height, seed=0, mode="RGB"):
    random = np.random.default_rng(seed)
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    return Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8), mode)


def file_bytes(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("path", "fit"), [("i2t", "pad"), ("crop", "crop")])
def test_fitted_pixels_are_the_references(golden, file, path, fit):
    compared = 0
    for arrays in golden.values():
        for key, expected in arrays.items():
            kind, *rest = key.split("/")
            if kind == path and rest[1:] == [file, "pixels"]:
                got = load_pixels(PICTURES / file, int(rest[0]), fit=fit, exif=False)
                np.testing.assert_array_equal(got, expected)
                compared += 1
    assert compared >= 2


@pytest.mark.parametrize("file", FILES)
def test_whitened_pixels_are_the_references(golden, file):
    for case, size in (("vq_f16", 64), ("vq_attn", 32)):
        got = images.whiten(load_image(PICTURES / file, exif=False))
        np.testing.assert_array_equal(np.array(got), golden[case][f"crop/{size}/{file}/whitened"])


def test_floats_become_the_references_bytes_exactly(golden):
    for arrays in golden.values():
        np.testing.assert_array_equal(
            images.to_uint8(arrays["to_uint8/in"]), arrays["to_uint8/out"]
        )


def test_bytes_become_floats_rounded_once():
    got = images.to_float(np.arange(256, dtype=np.uint8))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, (np.arange(256) / 255.0 * 2 - 1).astype(np.float32))
    assert (got[0], got[255]) == (-1, 1)


def test_pixels_outside_the_range_are_clamped():
    image = images.to_image(np.array([[[-9, 0, 9]]], dtype=np.float32))
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (0, 127, 255)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    resolution=st.sampled_from([8, 32, 64]),
    strip=st.sampled_from([1, 333, 1 << 24]),
)
def test_padding_in_strips_equals_padding_the_whole(width, height, resolution, strip):
    image, side = picture(width, height), max(width, height)
    whole = Image.new("RGB", (side, side), (122, 116, 104))
    whole.paste(image, ((side - width) // 2, (side - height) // 2))
    expected = whole.resize((resolution, resolution), Image.Resampling.LANCZOS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "STRIP", strip)
        got = fit_image(image, resolution)
    np.testing.assert_array_equal(np.array(got), np.array(expected))


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (16, 16), (300, 200)])
def test_any_ordinary_size_fits(size, fit):
    assert fit_image(picture(*size), 16, fit).size == (16, 16)


@pytest.mark.parametrize("size", [(20000, 10), (3, 5000)])
def test_a_very_long_picture_is_padded_but_not_cropped(size):
    pixels = load_pixels(Image.new("RGB", size, (255, 0, 0)), 512)
    assert tuple(pixels[0, 0]) == images.PADDING
    assert pixels[256, 256, 0] > images.PADDING[0]
    with pytest.raises(ImageError, match="pad"):
        load_pixels(Image.new("RGB", size), 512, fit="crop")


def test_an_unknown_fit_is_refused():
    with pytest.raises(SettingsError, match="squeeze"):
        fit_image(picture(8, 8), 8, "squeeze")


def test_phone_photos_are_turned_upright_unless_told_otherwise():
    path = PICTURES / "photo_exif_rot90.jpg"
    lying, upright = load_image(path, exif=False), load_image(path)
    assert upright.size == lying.size[::-1]
    np.testing.assert_array_equal(np.array(upright), np.rot90(np.array(lying), -1))


def test_a_picture_with_broken_exif_is_read_as_it_lies():
    image = picture(8, 4)
    data = file_bytes(image, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert load_image(data).size == (8, 4)


def test_sixteen_bit_grey_keeps_its_shades():
    ramp = Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16))
    for fit in ("pad", "crop"):
        pixels = load_pixels(file_bytes(ramp), 16, fit=fit)
        np.testing.assert_allclose(pixels[..., 0].ravel(), np.arange(256), atol=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 0.5, 1], np.float32), [0, 128, 255]),
        (np.array([0, 0.5, 200], np.float32), [0, 0, 200]),
        (np.array([0, 32768, 65535], np.float32), [0, 128, 255]),
        (np.array([0, 128, 255], np.int32), [0, 128, 255]),
        (np.array([0, 32768, 65535], np.int32), [0, 128, 255]),
        (np.array([0, 128, 255], np.uint16), [0, 0, 0]),
    ],
)
def test_grey_of_many_bits_is_scaled_by_its_range(values, expected):
    image = Image.fromarray(values[None])
    for source in (image, file_bytes(image, "TIFF")):
        assert np.array(load_image(source)).tolist() == [expected]


@pytest.mark.parametrize(
    "values", [[-1, 5], [0, np.nan], [0, np.inf], [0, 70_000], [-np.inf, 0], [0, -0.5]]
)
def test_grey_without_a_known_range_is_refused(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = Image.fromarray(np.array([values], np.float32))
    image.save("in.tif")
    with pytest.raises(ImageError, match=r"in\.tif has grey values from"):
        load_image("in.tif")
    with pytest.raises(ImageError, match="grey values"):
        load_pixels(image, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"])
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_every_mode_is_a_picture_or_an_image_error(mode, fit):
    with contextlib.suppress(ImageError):
        assert load_pixels(Image.new(mode, (9, 7)), 8, fit=fit).shape == (8, 8, 3)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 40), height=st.integers(1, 40), mode=st.sampled_from(["LA", "RGBA"]))
def test_blending_in_strips_equals_blending_the_whole(width, height, mode):
    image = picture(width, height, mode=mode)
    whole = np.array(images.whiten(image))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "BLENDED", 7)
        np.testing.assert_array_equal(np.array(images.whiten(image)), whole)


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "in.png")
    with pytest.raises(ImageError, match="not a regular file"):
        load_image(tmp_path / "in.png")
    with pytest.raises(ImageError, match="not a regular file"):
        load_image("/dev/zero")


def test_no_warning_of_pillow_comes_through():
    transparent = Image.new("P", (4, 4))
    transparent.info["transparency"] = b"\x00\x80"
    sources = [
        file_bytes(transparent),
        file_bytes(picture(8, 4), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x09"),
        file_bytes(picture(8, 4), "TIFF")[:-3] + b"\xff\xff\xff",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in sources:
            for exif in (True, False):
                with contextlib.suppress(ImageError):
                    load_pixels(source, 8, exif=exif)
                    load_pixels(source, 8, exif=exif, fit="crop")


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = file_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data).convert("RGB").getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "picture"])
def test_a_source_may_be_a_path_bytes_or_a_picture(tmp_path, kind):
    image, path = picture(9, 7), tmp_path / "in.png"
    image.save(path)
    source = {"path": path, "text": str(path), "bytes": path.read_bytes(), "picture": image}[kind]
    np.testing.assert_array_equal(np.array(load_image(source)), np.array(image))


def test_no_file_stays_open(tmp_path):
    save_png(picture(8, 8), tmp_path / "in.png", {"seed": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        load_image(tmp_path / "in.png")
        read_settings(tmp_path / "in.png")


# Bad input


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"no picture", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (file_bytes(picture(50, 50))[:-300], "truncated"),
        (file_bytes(picture(50, 50), "JPEG")[:900], "truncated"),
    ],
)
def test_bytes_that_are_no_whole_picture_are_refused(tmp_path, data, message):
    path = tmp_path / "in.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message):
        load_image(data)
    with pytest.raises(ImageError, match=r"in\.png"):
        load_image(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png does not exist"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="directory"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        load_image("a\0b.png")


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    """Small files that promise 174 million pixels, ten times that, and a row of 40000."""
    bombs = [_bmp_header(*size) for size in ((12000, 14500), (45000, 45000), (40000, 1))]
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for bomb in [*bombs, Image.new("1", (40000, 1))]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageError, match="smaller"):
                load_image(bomb)


def _bmp_header(width, height):
    header = bytearray(file_bytes(picture(1, 1), "BMP"))
    header[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return bytes(header)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0.1, 1),
)
def test_damaged_files_give_a_picture_or_an_image_error(kind, places, keep):
    data = bytearray(file_bytes(picture(24, 17), kind))
    for place, value in places:
        data[int(place * (len(data) - 1))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(ImageError):
            assert load_pixels(bytes(data[: int(keep * len(data))]), 8).shape == (8, 8, 3)


# Saving

SETTINGS = {"prompt": 'ein "Kreis"\nund ☃ \udc80\0', "seed": 2**63, "top_p": 0.96, "model": "demo"}


def test_settings_come_back_from_the_picture(tmp_path):
    save_png(picture(8, 8), tmp_path / "out.png", SETTINGS)
    assert read_settings(tmp_path / "out.png") == SETTINGS
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.array(image), np.array(picture(8, 8)))
        assert image.info["parameters"].startswith('ein "Kreis"\nund ☃')
        assert "seed: 9223372036854775808, top_p: 0.96, model: demo" in image.info["parameters"]


def test_settings_are_left_out_when_not_given(tmp_path):
    save_png(picture(8, 8), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert not image.info
    with pytest.raises(ImageError, match="no settings"):
        read_settings(tmp_path / "out.png")


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "[" * 100_000])
def test_settings_of_another_form_are_refused(tmp_path, text):
    info = images.PngInfo()
    info.add_itxt(images.SETTINGS_KEY, text)
    picture(8, 8).save(tmp_path / "out.png", pnginfo=info)
    with pytest.raises(ImageError, match="no settings"):
        read_settings(tmp_path / "out.png")


def test_what_was_there_is_replaced_whole_or_stays(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    save_png(picture(8, 8, seed=1), path)
    save_png(picture(8, 8, seed=2), path, {"seed": 2})
    before = path.read_bytes()

    def broken(self, target, *args, **options):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(ImageError, match="No space left"):
        save_png(picture(8, 8, seed=3), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["out.png"]


def test_places_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        save_png(picture(8, 8), tmp_path / "none" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=r"folder\.png"):
        save_png(picture(8, 8), tmp_path / "folder.png")
    assert os.listdir(tmp_path) == ["folder.png"]
    with pytest.raises(ImageError, match=r"call it out\.png"):
        save_png(picture(8, 8), tmp_path / "out.jpg")


def test_settings_are_json_that_other_tools_can_read(tmp_path):
    save_png(picture(8, 8), tmp_path / "out.png", SETTINGS)
    data = (tmp_path / "out.png").read_bytes()
    start = data.index(b"iTXtliquid")
    length = int.from_bytes(data[start - 4 : start], "big")
    text = data[start + 4 : start + 4 + length].split(b"\0", 5)[-1]
    assert json.loads(text) == SETTINGS
