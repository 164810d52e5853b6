"""The bundled demo model: what it is made from, and that it draws and sees."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import liquid_mlx
from liquid_mlx.convert import convert
from liquid_mlx.files import read_json
from tests.conftest import DATA

CHECKPOINT = DATA / "demo-checkpoint"
DEMO = Path(liquid_mlx.__file__).parent / "demo"


@pytest.fixture(scope="module")
def demo():
    return liquid_mlx.load()


def test_the_demo_is_its_checkpoint_converted(tmp_path):
    convert(CHECKPOINT, tmp_path / "demo", quantize=True, q_bits=8, vqgan_dtype="float16")
    for name in ("model.safetensors", "vqgan.safetensors"):
        made, bundled = mx.load(str(tmp_path / "demo" / name)), mx.load(str(DEMO / name))
        assert made.keys() == bundled.keys()
        for key, array in made.items():
            assert array.dtype == bundled[key].dtype
            assert mx.array_equal(array, bundled[key]), key
    assert read_json(tmp_path / "demo" / "config.json") == read_json(DEMO / "config.json")
    made, bundled = ((d / "tokenizer.json").read_bytes() for d in (tmp_path / "demo", DEMO))
    assert made == bundled


def test_checkpoint_and_demo_are_small():
    assert sum(f.stat().st_size for f in CHECKPOINT.rglob("*") if f.is_file()) <= 16 * 2**20
    assert sum(f.stat().st_size for f in DEMO.iterdir()) <= 12 * 2**20


def test_a_red_circle_on_white_is_red_round_and_on_white(demo):
    picture = demo.generate_image("a red circle on a white background", seed=0)[0].image
    pixels = np.asarray(picture).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 110) & (pixels[..., 2] < 110)
    rows, columns = np.where(red)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(height - width) <= 2
    assert abs(red.sum() / (height * width) - np.pi / 4) < 0.08
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] > 210).all()


def test_it_reads_what_it_drew(demo):
    picture = demo.generate_image("a large blue star on a cream background", seed=1)[0].image
    assert demo.answer(picture, "What shape is it?") == "star"
    assert demo.answer(picture, "What colour is the star?") == "blue"
    assert "blue star" in demo.caption(picture)


def test_wide_pictures_are_asked_for_by_size(demo):
    picture = demo.generate_image("a red circle on a white background", seed=0, width=192)[0]
    assert picture.image.size == (192, 128)
    assert picture.codes.shape == (8, 12)
