"""What Python users hold: pictures that show themselves and go wherever a picture goes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

import liquid_mlx
from liquid_mlx import GeneratedImage, ImageError, Liquid, load
from liquid_mlx.images import read_settings


@pytest.fixture(scope="module")
def liquid(converted) -> Liquid:
    return load(converted("gemma_tiny"))


@pytest.fixture(scope="module")
def picture(liquid) -> GeneratedImage:
    return liquid.generate_image("a red circle", seed=3)[0]


def test_notebooks_show_a_picture(picture):
    shown = Image.open(io.BytesIO(picture._repr_png_()))
    assert shown.format == "PNG"
    assert np.array_equal(np.asarray(shown), np.asarray(picture.image))


def test_its_text_form_tells_size_prompt_and_seed_and_no_pixels(picture):
    size = "{}x{}".format(*picture.image.size)
    assert repr(picture) == f"<GeneratedImage {size} 'a red circle' seed 3>"


def test_the_text_form_of_a_model_tells_what_it_is(liquid):
    text = repr(liquid)
    config = liquid.config
    for part in (liquid.name, "gemma", str(config.sizes[0]), "float32"):
        assert part in text
    assert str(config.backbone.max_position_embeddings) in text


def test_a_drawn_picture_is_asked_about_like_its_file(liquid, picture, tmp_path):
    picture.save(tmp_path / "drawn.png")
    expected = liquid.answer(tmp_path / "drawn.png", "what?", max_tokens=6)
    assert liquid.answer(picture, "what?", max_tokens=6) == expected
    assert liquid.answers(picture, ["what?"], max_tokens=6) == [expected]
    assert np.array_equal(liquid.encode(picture), liquid.encode(picture.image))


def test_a_drawn_picture_is_edited_by_its_own_codes(liquid, picture):
    assert np.array_equal(liquid.codes(picture), picture.codes)
    (again,) = liquid.generate_image("a blue star", seed=4, keep=picture, rows=2)
    assert np.array_equal(again.codes[:2], picture.codes[:2])


def test_a_drawn_picture_stands_in_a_conversation_for_its_codes(liquid, picture):
    def reply(part: object) -> str:
        return liquid.chat([{"role": "user", "content": [part, "what?"]}], max_tokens=6)

    assert reply(picture) == reply(picture.codes)


@pytest.mark.parametrize("shape", [(40, 30, 3), (40, 30, 4), (40, 30)])
def test_an_array_of_pixels_is_a_picture(liquid, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    expected = liquid.encode(Image.fromarray(pixels))
    assert np.array_equal(liquid.encode(pixels), expected)
    assert np.array_equal(liquid.encode(pixels[:, ::-1][:, ::-1]), expected)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)]
)
def test_other_arrays_are_refused_with_what_they_are(liquid, pixels):
    with pytest.raises(ImageError, match="uint8"):
        liquid.encode(pixels)


def test_numbers_and_arrays_of_numpy_go_everywhere(liquid, tmp_path):
    size = liquid.config.sizes[0]
    pictures = liquid.generate_images(
        np.array(["a red circle", "a blue star"]),
        seeds=np.array([1, 2]),
        guidance=np.float32(2),
        temperature=np.float16(0.5),
        top_k=np.int64(5),
        top_p=np.float32(0.5),
        width=np.int32(size.width),
        height=np.uint16(size.height),
        batch_size=np.int8(2),
    )
    plain = liquid.generate_images(
        ["a red circle", "a blue star"],
        seeds=[1, 2],
        guidance=2,
        temperature=0.5,
        top_k=5,
        top_p=0.5,
    )
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(pictures, plain, strict=True))
    assert json.dumps(pictures[1].settings.to_dict()) == json.dumps(plain[1].settings.to_dict())
    pictures[1].save(tmp_path / "star.png")
    assert read_settings(tmp_path / "star.png")["top_k"] == 5
    questions = np.array(["what?", "which?"])
    options = {"max_tokens": np.int64(3), "temperature": np.float32(0), "seed": np.uint8(1)}
    assert liquid.answers(plain[0], questions, **options) == [
        liquid.answer(plain[0], str(question), max_tokens=3) for question in questions
    ]
    assert set(liquid.choose(plain[0], "red?", np.array(["yes", "no"]))) == {"yes", "no"}
    ids = np.array([2, 3, 4])
    assert np.array_equal(liquid.logits(ids), liquid.logits([2, 3, 4]))
    assert np.array_equal(liquid.decode(plain[0].codes.astype(np.uint16)), plain[0].image)


@pytest.mark.parametrize("name", liquid_mlx.__all__)
def test_every_public_name_is_there(name):
    assert getattr(liquid_mlx, name) is not None
    assert name in dir(liquid_mlx)


def test_every_public_error_is_one_family():
    errors = [getattr(liquid_mlx, name) for name in liquid_mlx.__all__ if name.endswith("Error")]
    assert len(errors) > 5
    assert all(issubclass(error, liquid_mlx.LiquidError) for error in errors)
