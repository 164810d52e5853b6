"""``liquid encode`` and ``liquid decode``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load
from liquid_mlx.images import load_pixels
from tests.cli.conftest import Run

RED = "photos/red.png"


def test_codes_of_a_picture(photos: Path, run: Run, model: str) -> None:
    assert run("encode", RED).stdout == "red.npy\n"
    liquid = load(model)
    codes = np.load("red.npy")
    assert codes.dtype == np.int32
    assert np.array_equal(codes, liquid.encode(RED))
    run("encode", RED, "-o", "new/red.json", "--fit", "crop")
    cropped = np.array(json.loads(Path("new/red.json").read_text()))
    assert np.array_equal(cropped, liquid.encode(RED, fit="crop"))


def test_there_and_back(photos: Path, run: Run, model: str) -> None:
    run("encode", RED, "-o", "red.npy")
    run("encode", RED, "-o", "red.json")
    assert run("decode", "red.npy").stdout == "red.png\n"
    assert run("decode", "red.json", "-o", "new/red.png").stdout == "new/red.png\n"
    liquid = load(model)
    expected = np.asarray(liquid.decode(liquid.encode(RED)))
    for path in ("red.png", "new/red.png"):
        assert np.array_equal(np.asarray(Image.open(path)), expected)


def test_a_drawn_picture_comes_back_from_its_codes(run: Run, model: str) -> None:
    picture = load(model).generate_image("a red circle", seed=1)[0]
    np.save("codes.npy", picture.codes)
    run("decode", "codes.npy", "-o", "again.png")
    assert np.array_equal(np.asarray(Image.open("again.png")), np.asarray(picture.image))


def test_psnr_of_the_round_trip(photos: Path, run: Run, model: str) -> None:
    liquid = load(model)
    seen = load_pixels(RED, liquid.config.vqgan.resolution, fit="pad").astype(float)
    made = np.asarray(liquid.decode(liquid.encode(RED))).astype(float)
    expected = 10 * np.log10(255**2 / np.mean((seen - made) ** 2))
    name, value = run("encode", RED, "--psnr").stdout.split()
    assert name == "red.npy"
    assert float(value) == pytest.approx(expected, abs=0.01)
    row = json.loads(run("encode", RED, "--psnr", "--json", "--overwrite").stdout)
    assert row == {"path": "red.npy", "shape": list(np.load("red.npy").shape), "psnr": float(value)}


def test_many_pictures_into_a_folder(photos: Path, run: Run) -> None:
    (photos / "bad.png").write_text("no")
    done = run("encode", "photos", "-o", "codes")
    assert done.exit_code == 3
    assert done.stdout.split() == ["codes/blue.npy", "codes/green.npy", "codes/red.npy"]
    assert run("encode", "photos", "-o", "codes").exit_code == 1  # they exist


def test_training_data_in_the_reference_s_form(photos: Path, run: Run, model: str) -> None:
    for name in ("blue", "green", "red"):
        (photos / f"{name}.txt").write_text(f"a {name} frame\n")
    done = run("encode", "photos", "-o", "out/train.jsonl")
    assert done.stdout == "out/train.jsonl\n"
    rows = [json.loads(line) for line in Path("out/train.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == ["a blue frame", "a green frame", "a red frame"]
    liquid = load(model)
    side = liquid.config.vqgan.resolution
    for row in rows:
        codes = json.loads(row[f"vqcode_{side}"])
        others = {key: row[key] for key in row if key != f"vqcode_{side}"}
        assert len(codes) == (side // liquid.config.vqgan.factor) ** 2
        assert others == {
            "data_type": "image_text",
            "text": row["text"],
            "length": len(row["text"]) + 4 * len(codes),
            "vqcode_multi768": "no",
            "width": "no",
            "height": "no",
        }
    done = run("decode", "out/train.jsonl", "-o", "back.png")
    assert done.stdout.split() == ["back-1.png", "back-2.png", "back-3.png"]


def test_training_pictures_are_cropped_as_the_reference_does(
    photos: Path, run: Run, model: str
) -> None:
    """Its crop: the shorter side to the encoder's, both lengths cut to whole pixels, the centre."""
    liquid = load(model)
    side = liquid.config.vqgan.resolution
    picture = Image.effect_noise((157, 101), 60).convert("RGB")
    picture.save("noise.png")
    Path("noise.txt").write_text("noise")
    run("encode", "noise.png", "-o", "train.jsonl")
    codes = json.loads(json.loads(Path("train.jsonl").read_text())[f"vqcode_{side}"])
    width = int(157 / (101 / side))
    left = (width - side) // 2
    small = picture.resize((width, side), Image.Resampling.LANCZOS)
    expected = liquid.encode(small.crop((left, 0, left + side, side)), exif=False)
    assert codes == expected.reshape(-1).tolist()


def test_pairs_from_a_file_and_pictures_that_are_too_long(photos: Path, run: Run) -> None:
    Image.new("RGB", (90, 30)).save("long.png")
    pairs = [
        {"image_path": "photos/red.png", "text": "red"},
        {"image_path": "long.png", "text": "long"},
        {"image_path": "missing.png", "text": "gone"},
        {"image_path": "photos/blue.png", "text_prompt": "blue"},
    ]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    done = run("encode", "--pairs", "pairs.jsonl", "-o", "train.jsonl")
    assert done.exit_code == 3
    texts = [json.loads(line)["text"] for line in Path("train.jsonl").read_text().splitlines()]
    assert texts == ["red", "blue"]
    assert "long.png is more than 2 times as long" in done.stderr
    assert "missing.png does not exist" in done.stderr


def test_training_data_is_whole_or_not_there(photos: Path, run: Run) -> None:
    assert run("encode", "photos", "-o", "train.jsonl").exit_code == 1
    Path("pairs.jsonl").write_text(json.dumps({"image_path": "none.png", "text": "x"}))
    done = run("encode", "--pairs", "pairs.jsonl", "-o", "train.jsonl")
    assert done.exit_code == 1
    assert "nothing was written" in done.stderr
    assert not list(Path().glob("*train*"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.npy", b""),
        ("a.npy", b"\x93NUMPY\x01\x00"),
        ("a.json", b"{}"),
        ("a.json", b"[[1, 2], [3]]"),
        ("a.json", b'[["a"]]'),
        ("a.json", b"[[-1]]"),
        ("a.json", b"[[99999999]]"),
        ("a.json", b"[[1.5]]"),
        ("a.json", b"[" * 100_000),
        ("a.jsonl", b""),
        ("a.jsonl", b'{"vqcode_512": "no"}'),
        ("a.jsonl", b'{"vqcode_512": "[1, 2, 3]"}'),
        ("a.txt", b"\xff"),
    ],
)
def test_files_that_hold_no_codes(name: str, data: bytes, run: Run) -> None:
    Path(name).write_bytes(data)
    done = run("decode", name)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert not list(Path().glob("*.png"))


def test_a_pickle_inside_npy_does_not_run(run: Run) -> None:
    np.save("evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert run("decode", "evil.npy").exit_code == 1
