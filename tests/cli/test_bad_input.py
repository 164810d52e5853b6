"""Bad command lines and files: one clear sentence each, the right exit code, no traceback."""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run

WRONG = """
drawn
--model x generate y
generate
generate -o
generate x --seed
generate x --seed seven
generate x --seed 1,,2
generate x --seed 1.5
generate x --seed 1 --auto-seeds 2
generate x --auto-seeds 0
generate x --auto-seeds many
generate x --count 0
generate x --count -1
generate x --seed 1,2 --count 2
generate x --size 64x64 --width 64
generate x --width wide
generate x --guidance strong
generate x --temperature hot
generate x --top-k 1.5
generate x --top-p high
generate x --metadata --no-metadata
generate x --no-such-flag
generate x --colour
ask
ask photos/red.png
ask photos/red.png What? --max-tokens many
ask photos/red.png What? --json --jsonl
ask photos/red.png What? --choices yes
ask photos/red.png What? --choices yes,
ask photos/red.png What? --choices yes,no --score yes
ask --questions questions.jsonl
ask --answers answers.jsonl
ask --image-folder photos
ask photos/red.png What? --questions questions.jsonl --answers answers.jsonl
ask -p What? --questions questions.jsonl --answers answers.jsonl
ask --questions questions.jsonl --answers answers.jsonl --score yes
ask photos/red.png What? --seed x
ask photos/red.png What? --seed -1
ask photos/red.png What? --seed 4294967296
caption
caption photos/red.png --json --jsonl
caption photos/red.png -m x
chat hello
chat --max-tokens
encode
encode photos/red.png --fit stretch
encode photos/red.png -o x.jsonl --fit pad
encode photos/red.png -o x.jsonl --psnr
encode --pairs pairs.jsonl
encode photos/red.png --pairs pairs.jsonl -o x.jsonl
encode --pairs pairs.jsonl -o x.npy
decode
decode a.npy b.npy
models --delete
info
info a b
convert
convert --hf-path
convert --hf-path x --q-bits four
""".strip().splitlines()

BAD = [
    ("generate x -o out.jpg", "PNG"),
    ("generate x -o out", "PNG"),
    ("generate x -o exists.png", "--overwrite"),
    ("generate x -o exists.png/out.png", "exists.png"),
    ("generate x -o new.png --contact-sheet exists.png", "--overwrite"),
    ("generate x -o new.png --stepwise-image-output-dir exists.png", "exists"),
    ("generate '' -o out.png", "empty"),
    ("generate '   ' -o out.png", "empty"),
    (f"generate '{'long ' * 9000}' -o out.png", "too long"),
    ("generate --prompt-file none.txt", "none.txt"),
    ("generate --prompt-file photos", "photos"),
    ("generate --prompt-file empty.png", "empty"),
    ("generate --prompt-file noise.bin", "UTF-8"),
    ("generate - -o out.png", "empty"),
    ("generate x -o out.png --seed -1", "0 to"),
    ("generate x -o out.png --seed 4294967296", "0 to"),
    ("generate x -o out.png --guidance -1", "guidance"),
    ("generate x -o out.png --guidance nan", "guidance"),
    ("generate x -o out.png --guidance inf", "guidance"),
    ("generate x -o out.png --temperature -1", "temperature"),
    ("generate x -o out.png --temperature nan", "temperature"),
    ("generate x -o out.png --top-k -1", "top-k"),
    ("generate x -o out.png --top-p 0", "top-p"),
    ("generate x -o out.png --top-p 1.5", "top-p"),
    ("generate x -o out.png --size big", "512x512"),
    ("generate x -o out.png --size 7x7", "7x7"),
    ("generate x -o out.png --width 7", "7x"),
    ("generate x -o out.png --dtype int3", "dtype"),
    ("generate x -o out.png --model none", "no model folder"),
    ("generate x -o out.png --model photos", "config.json"),
    ("generate x -o out.png --model someone/nothing", "HF_HUB_OFFLINE"),
    ("generate x -o out.png --model broken-json", "JSON"),
    ("generate x -o out.png --model plain", "convert"),
    ("generate x -o out.png --model newer", "format"),
    ("generate x -o out.png --model no-weights", "no-weights"),
    ("generate x -o out.png --model cut-weights", "model"),
    ("generate x -o out.png --model no-tokenizer", "tokenizer"),
    ("generate x -o out.png --model bad-tokenizer", "tokenizer"),
    ("generate x -o out.png --model no-vqgan", "vqgan"),
    ("generate -C photos/red.png", "no settings"),
    ("generate -C none.png", "none.png"),
    ("generate -C missing.json", "There is no file missing.json."),
    ("generate -C notes.json", "JSON"),
    ("generate -C empty.png", "empty"),
    ("ask none.png What?", "does not exist"),
    ("ask empty.png What?", "empty"),
    ("ask noise.bin What?", "not a picture"),
    ("ask cut.png What?", "cut.png"),
    ("ask bomb.png What?", "pixels"),
    ("ask photos/red.png ''", "empty"),
    ("ask photos/red.png '   '", "empty"),
    (f"ask photos/red.png '{'long ' * 9000}'", "too long"),
    ("ask photos/red.png What? --max-tokens 0", "max_tokens"),
    ("ask photos/red.png What? --temperature -1", "temperature"),
    ("ask photos/red.png What? --choices yes,yes", "different"),
    ("ask photos/red.png What? --score ''", "empty"),
    ("ask nothing/ What?", "nothing"),
    ("ask '*.gif' What?", "*.gif"),
    ("ask hollow What?", "no images"),
    ("ask - What?", "Standard input"),
    ("ask http://127.0.0.1:1/x.png What?", "cannot be reached"),
    ("ask --questions none.jsonl --answers a.jsonl", "none.jsonl"),
    ("ask --questions notes.json --answers a.jsonl", "line 1"),
    ("ask --questions questions.jsonl --answers notes.json", "not an answer"),
    ("caption none.png", "does not exist"),
    ("caption hollow", "no images"),
    ("caption photos/red.png --max-tokens 0", "max_tokens"),
    ("encode none.png", "does not exist"),
    ("encode photos/red.png -o out.txt", ".npy"),
    ("encode photos -o out.npy", "folder"),
    ("encode photos -o train.jsonl", "caption --txt"),
    ("encode --pairs notes.json -o train.jsonl", "line 1"),
    ("decode none.npy", "none.npy"),
    ("decode photos/red.png", "codes"),
    ("decode notes.json", "codes"),
    ("decode flat.npy", "rows, columns"),
    ("decode high.npy", "99999"),
    ("decode good.npy -o out.jpg", "PNG"),
    ("decode good.npy -o exists.png", "--overwrite"),
    ("models --delete none --yes", "no model"),
    ("models --delete demo --yes", "cannot be deleted"),
    ("info none", "none"),
    ("info photos", "config.json"),
    ("info photos/red.png", "no settings"),
    ("chat --model none", "none"),
    ("convert --hf-path none --mlx-path out", "none"),
    ("convert --hf-path photos --mlx-path out", "config.json"),
]


@pytest.fixture
def rubbish(photos: Path, tmp_path: Path, converted: Callable[..., Path]) -> None:
    """The files that the command lines above name."""
    Path("exists.png").write_bytes((photos / "red.png").read_bytes())
    Path("empty.png").touch()
    Path("noise.bin").write_bytes(bytes(range(256)) * 10)
    Path("cut.png").write_bytes((photos / "red.png").read_bytes()[:60])
    bomb = bytearray((photos / "red.png").read_bytes())
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    Path("bomb.png").write_bytes(bomb)
    Path("notes.json").write_text("{broken\n")
    Path("hollow").mkdir()
    question = {"question_id": 1, "image": "red.png", "text": "What?"}
    Path("questions.jsonl").write_text(json.dumps(question))
    np.save("flat.npy", np.zeros(4, np.int32))
    np.save("high.npy", np.full((2, 2), 99999, np.int32))
    np.save("good.npy", np.zeros((2, 2), np.int32))

    source = converted("gemma_tiny")

    def model(name: str, without: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for path in source.iterdir():
            if not without or not path.match(without):
                (folder / path.name).write_bytes(path.read_bytes())
        return folder

    (model("broken-json") / "config.json").write_text("{")
    config = json.loads((source / "config.json").read_text())
    newer = {**config, "liquid": {**config["liquid"], "format": 99}}
    (model("newer") / "config.json").write_text(json.dumps(newer))
    plain = {key: value for key, value in config.items() if key != "liquid"}
    (model("plain") / "config.json").write_text(json.dumps(plain))
    model("no-weights", "model*.safetensors")
    weights = next(model("cut-weights").glob("model*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    model("no-tokenizer", "tokenizer.json")
    (model("bad-tokenizer") / "tokenizer.json").write_text("{}")
    model("no-vqgan", "vqgan.safetensors")


def test_there_are_more_than_a_hundred() -> None:
    assert len(WRONG) + len(BAD) >= 100


@pytest.mark.parametrize("line", WRONG)
def test_wrong_command_lines(line: str, run: Run, photos: Path) -> None:
    before = sorted(Path().rglob("*"))
    done = run(*shlex.split(line))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(("line", "words"), BAD)
@pytest.mark.usefixtures("rubbish")
def test_bad_input(line: str, words: str, run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    done = run(*shlex.split(line))
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    assert done.stdout == ""
    assert words in done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("liquid: ")
    assert len(sentence) <= 600
    assert {p: p.stat().st_mtime_ns for p in Path().rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("size", [(1, 1), (20000, 10), (3, 4000)])
def test_odd_pictures_are_pictures(size: tuple[int, int], run: Run) -> None:
    Image.new("RGB", size, "red").save("odd.png")
    assert run("ask", "odd.png", "What?", "-m", "2").exit_code == 0


@pytest.mark.parametrize(
    "name", ["-rf.png", "with space.png", "ünï.png", "new\nline.png", "%s.png"]
)
def test_odd_names_are_names(name: str, photos: Path, run: Run) -> None:
    Path(name).write_bytes((photos / "red.png").read_bytes())
    assert run("ask", "-m", "2", "--", f"./{name}", "What?").exit_code == 0
