"""What a case is: files in a folder, and a command line that meets them; one function a surface."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from liquid_mlx.cli.main import COMMANDS, load_command
from tests.fuzz import bodies, values
from tests.fuzz.damage import damage
from tests.fuzz.values import name, number, text

# Not run with whatever options: they take minutes, or go on until they are told to stop.
LONG = ("bench", "serve", "finetune", "evaluate", "compare", "doctor")
QUESTION = "What is this?"


@dataclass(frozen=True)
class World:
    """What cases start from: a model and an adapter trained on it, a checkpoint and its adapter."""

    model: Path
    tuned: Path
    checkpoint: Path
    adapter: Path

    @classmethod
    def of(cls, folder: Path) -> World:
        return cls(*(folder / name for name in ("model", "tuned", "checkpoint", "adapter")))


@dataclass
class Case:
    """A command line, run in the folder that holds its files; or a request to a server.

    Attributes:
        argv: the command line; of a request its method, path and content type.
        stdin: what the command reads; of a request its body.
        request: it is one.
    """

    argv: list[str]
    stdin: bytes = b""
    request: bool = False


def tuning(world: World) -> list[str]:
    """The command that trained the adapter, but for its folder."""
    used = ["finetune", str(world.tuned.parent / "d.jsonl"), "--model", str(world.model), "-q"]
    return [*used, "--iters", "1", "--rank", "2", "--val-split", "0", "--batch-size", "1"]


Make = Callable[[World, random.Random], Case]


def picture(path: str | Path = "in.png", mode: str = "RGB", size: tuple[int, int] = (9, 7)) -> None:
    Image.new(mode, size, 5).save(path)


def drawing(world: World, chance: random.Random, *more: str) -> list[str]:
    prompt = chance.choice(["a red circle", text(chance)])
    return ["generate", "-p", prompt, "-o", "out.png", "--model", str(world.model), *more]


def asking(world: World, *more: str) -> list[str]:
    return ["ask", "in.png", QUESTION, "-m", "2", "--model", str(world.model), *more]


def flags(world: World, chance: random.Random) -> Case:
    """Any command with any of its options and any values."""
    command = chance.choice([name for name in COMMANDS if name not in LONG])
    picture()
    Path("folder").mkdir()
    os.mkfifo("fifo")
    os.symlink("loop", "loop")
    argv = [command]
    for param in load_command(command).params:
        option = param.param_type_name == "option"
        if option and chance.random() < 0.75 and param.name != "hf_path":
            continue
        if param.name in ("delete", "yes", "upload_repo", "help"):
            continue
        value = _value(world, chance)
        if not option:
            argv += [value] if chance.random() < 0.9 else [value, _value(world, chance)]
        elif param.is_flag:
            argv.append(chance.choice(param.opts))
        else:
            argv += [chance.choice(param.opts), value]
    if command in ("generate", "edit", "ask", "caption", "encode") and chance.random() < 0.7:
        argv += ["--model", str(world.model)]
    return Case(argv, chance.choice([b"", b"\xff\xfe", text(chance).encode("utf-8", "replace")]))


def _value(world: World, chance: random.Random) -> str:
    """A value for an option that may be of any type; argv has no zero bytes."""
    kinds = [
        lambda: number(chance),
        lambda: text(chance),
        lambda: chance.choice(values.NAMES + values.SPECIAL),
        lambda: chance.choice(["in.png", "x.npy", "new.png", "new/", "yes,no", str(world.model)]),
    ]
    return chance.choice(kinds)().replace("\x00", "")[:100_000]


def texts(world: World, chance: random.Random) -> Case:
    """Prompts, questions, answers, conversations."""
    picture()
    said = text(chance)
    few = "\n".join(said.split("\n")[:3])  # every line is a picture or an answer
    lines = f"hello\n{few}\n/save a.json\n/image {few}\n/draw {few}\n"
    model = ["--model", str(world.model), "-m", "2"]
    kinds = [
        Case(drawing(world, chance, "--json")),
        Case(["generate", "-", "-o", "{prompt}.png", "--model", str(world.model)], _utf8(few)),
        Case(
            ["ask", "in.png", "-p", said, "-p", QUESTION, *model, chance.choice(["--json", "-q"])]
        ),
        Case(["ask", "in.png", QUESTION, "--choices", f"yes,{said}", *model]),
        Case(["ask", "in.png", QUESTION, "--score", said, *model]),
        Case(["chat", *model], _utf8(lines)),
        Case(["caption", "-", "--json", *model], _utf8(said)),
    ]
    return chance.choice(kinds)


def _utf8(said: str) -> bytes:
    return said.encode("utf-8", "surrogatepass")


def settings(world: World, chance: random.Random) -> Case:
    """Settings inside a PNG or a sidecar."""
    sound = {"prompt": "x", "seed": 1, "top_k": 5, "width": 64, "height": 64, "guidance": 2.0}
    sound |= {"temperature": 1.0, "top_p": 0.9, "model": str(world.model), "dtype": "float32"}
    spoiled = values.json_text(sound, chance)
    if chance.random() < 0.3:
        Path("in.json").write_text(spoiled, errors="surrogatepass")
        return Case(["generate", "-C", "in.json", "-o", "out.png", "--model", str(world.model)])
    info = PngInfo()
    try:
        info.add_itxt("liquid", spoiled, zip=chance.random() < 0.5)
    except UnicodeEncodeError:
        info.add_itxt("liquid", json.dumps({text(chance): text(chance)}))
    Image.new("RGB", (8, 8)).save("in.png", pnginfo=info)
    shown = chance.choice([["info", "in.png"], ["info", "in.png", "--json"]])
    again = ["generate", "-C", "in.png", "-o", "out.png", "--model", str(world.model)]
    return Case(chance.choice([shown, again]))


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F")
KINDS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000")


def pictures(world: World, chance: random.Random) -> Case:
    """Damaged pictures of every kind and mode, under any name."""
    file, kind, mode = Path(name(chance)), chance.choice(KINDS), chance.choice([*MODES, "I;16"])
    way = chance.random()
    if way < 0.1:
        size = chance.choice([(60_000, 60_000), (1, 2**31 - 1), (0, 0), (40_000, 1), (3, 4000)])
        file.write_bytes(promise(*size))
    elif way < 0.2:
        array = chance.choice([np.float32, np.int32, np.uint16, np.uint8])(
            np.linspace(*chance.choice([(0, 1), (0, 255), (-1, 1), (0, 70_000), (0, np.nan)]), 16)
        )
        Image.fromarray(array.reshape(4, 4)).save(file, "TIFF")
    else:
        data = io.BytesIO()
        try:
            Image.new(mode, (24, 17), chance.randrange(200)).save(data, kind)
        except (OSError, ValueError, TypeError):  # not every kind has every mode
            data = io.BytesIO(b"no picture")
        file.write_bytes(data.getvalue())
        if chance.random() < 0.8:
            damage(file, chance)
    model = ["--model", str(world.model)]
    seen = [str(file), QUESTION, "-m", "1"]
    kinds = [
        *(["ask", *seen, *model], ["ask", ".", QUESTION, "-m", "1", "--json", *model]),
        *(["caption", ".", "-m", "1", "--jsonl", *model], ["info", f"./{file}"]),
        *(["encode", f"./{file}", *model, "--fit", "crop"], ["encode", ".", "--psnr", *model]),
    ]
    return Case(chance.choice(kinds))


def defaults(world: World, chance: random.Random) -> Case:
    """A config file of the user's, ``config.toml``."""
    keys = ["model", "dtype", "quiet", "generate.seed", "generate.count", "generate.top_k", "x"]
    plain = ["1", "-1", "1e999", "nan", "true", "[]", "{}", "[[]]", "9" * 5000, "1979-05-27", '"x"']
    lines = []
    for _ in range(chance.randint(1, 4)):
        value = chance.choice([chance.choice(plain), json.dumps(text(chance))])
        lines.append(f"{chance.choice(keys)} = {value}")
    if chance.random() < 0.2:
        lines = ["x = " + "[" * 100_000, *lines]
    Path("config.toml").write_text("\n".join(lines), errors="surrogatepass")
    return Case(chance.choice([["config"], drawing(world, chance), ["models"]]))


def edits(world: World, chance: random.Random) -> Case:
    """Pictures and masks for edits and variations."""
    picture("out of a camera.png", size=(70, 50))
    mask = Path(name(chance))
    Image.new(chance.choice(["1", "L", "RGBA"]), (8, 8), chance.choice([0, 1])).save(mask, "PNG")
    if chance.random() < 0.6:
        damage(mask, chance)
    how = chance.choice([["--mask", f"./{mask}"], ["--keep-rows", number(chance)]])
    used = ["-o", "new.png", "--model", str(world.model), "--seed", "1"]
    said = chance.choice(["a red circle", text(chance)]).replace("\x00", "")
    kinds = [
        ["edit", *how, *used, "--", "out of a camera.png", said],
        ["edit", *how, *used, "--", f"./{mask}", said],
        ["vary", *used, "--strength", number(chance), "--", f"./{mask}", said],
    ]
    return Case(chance.choice(kinds))


def scored(world: World, chance: random.Random) -> Case:
    """Files of answers with the annotations of benchmarks, to be scored."""
    answers = [
        {"question_id": i, "prompt": QUESTION, "text": "red", "metadata": {}} for i in range(3)
    ]
    people = [{"answer": "red", "answer_confidence": "yes", "answer_id": i} for i in range(10)]
    notes = {
        "vqav2": {"annotations": [{"question_id": i, "answers": people} for i in range(3)]},
        "textvqa": {"data": [{"image_id": "x", "question": QUESTION, "answers": ["red"] * 10}]},
        "gqa": {
            str(i): {"answer": "red", "question": QUESTION, "isBalanced": True} for i in (0, 1)
        },
        "custom": {"question_id": 1, "answer": ["red", "blue"], "category": text(chance)},
    }
    task = chance.choice(list(notes))
    spoiled = chance.random() < 0.5
    lines = [values.json_text(dict(a), chance) if spoiled else json.dumps(a) for a in answers]
    Path("a.jsonl").write_text("\n".join(lines), errors="surrogatepass")
    sound = json.dumps(notes[task])
    note = sound if spoiled else values.json_text(notes[task], chance)
    Path("notes").write_text(note, errors="surrogatepass")
    report = chance.choice([[], ["--report", "r.html"], ["--report", "r.md"], ["--json"]])
    return Case(["evaluate", task, "--answers", "a.jsonl", "--annotations", "notes", *report])


def promise(width: int, height: int) -> bytes:
    """A small PNG whose header promises any size."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def model(world: World, chance: random.Random) -> Case:
    """A converted folder with one file damaged, under any name."""
    folder = Path(name(chance, ""))
    shutil.copytree(world.model, folder)
    config = ["config.json"] * 4 + ["tokenizer.json"] * 3
    damage(folder / chance.choice([*config, *os.listdir(folder)]), chance)
    if chance.random() < 0.2:
        (folder / "README.md").write_bytes(_utf8(f"---\nlicense: {text(chance)}\n---\n"))
    picture()
    used = ["--model", f"./{folder}"]
    kinds = [
        *(["info", f"./{folder}"], ["info", f"./{folder}", "--json"], ["models"]),
        *(["models", "--json"], ["generate", "x", "-o", "out.png", *used]),
        *(["ask", "in.png", QUESTION, "-m", "2", *used], ["bench", "--plan", *used]),
        ["convert", "--hf-path", f"./{folder}", "--mlx-path", "out", "--dequantize"],
    ]
    return Case(chance.choice(kinds))


def codes(world: World, chance: random.Random) -> Case:
    """Files of codes."""
    file = Path(name(chance, chance.choice([".npy", ".json", ".jsonl", ".txt", ""])))
    grid = np.array([[0, 1], [2, chance.choice([3, -1, 2**31, 10**9])]])
    if file.suffix == ".npy":
        np.save("a.npy", chance.choice([grid, grid.astype(np.float64), grid[None], grid > 1]))
        os.rename("a.npy", file)
        damage(file, chance)
    elif chance.random() < 0.5:
        file.write_text(values.json_text(grid.tolist(), chance), errors="surrogatepass")
    else:
        line = {"data_type": "image_text", "vqcode_64": json.dumps([1, 2, 3, 4])}
        lines = [values.json_text(dict(line), chance) for _ in range(3)]
        file.write_text("\n".join(lines), errors="surrogatepass")
    out = chance.choice([[], ["-o", "out.png"], ["-o", name(chance)]])
    return Case(["decode", "--model", str(world.model), *out, "--", str(file)])


def listed(world: World, chance: random.Random) -> Case:
    """Files of questions, of answers, of pairs and of prompts."""
    picture()
    question = {"question_id": 1, "image": "in.png", "text": QUESTION}
    answer = {"question_id": 7, "prompt": QUESTION, "text": "x", "metadata": {}}
    pair = {"image_path": "in.png", "text": text(chance)}
    for file, line in (("q", question), ("a", answer), ("p", pair)):
        lines = [json.dumps(line), values.json_text(dict(line), chance), json.dumps(line)]
        chance.shuffle(lines)
        kept = lines[: chance.randint(0, 3)] if chance.random() < 0.5 else [json.dumps(line)]
        Path(file).write_text("\n".join([*kept, ""]), errors="surrogatepass")
    drawn = values.json_text({"prompt": "x", "seed": 1, "guidance": 2, "size": "64x64"}, chance)
    Path("lines").write_text(drawn, errors="surrogatepass")
    Path("prompts").write_bytes(_utf8("\n".join(text(chance) for _ in range(3))))
    used = ["--model", str(world.model)]
    kinds = [
        ["ask", "--questions", "q", "--answers", "a", "-m", "2", *used],
        ["ask", "--questions", "q", "--answers", "new", "--image-folder", ".", "-m", "1", *used],
        ["encode", "--pairs", "p", "-o", "out.jsonl", *used],
        ["generate", "--prompt-file", "prompts", "-o", "out/", *used],
        ["generate", "--prompts-jsonl", "lines", "-o", "{index}.png", *used],
    ]
    return Case(chance.choice(kinds))


def checkpoint(world: World, chance: random.Random) -> Case:
    """A checkpoint or an adapter with one file damaged, to be converted."""
    folder, adapter = Path(name(chance, "")), Path("adapter")
    shutil.copytree(world.checkpoint, folder)
    shutil.copytree(world.adapter, adapter)
    files = [path for path in folder.rglob("*") if path.is_file()]
    argv = ["convert", "--hf-path", f"./{folder}", "--mlx-path", "out"]
    if chance.random() < 0.25:
        damage(chance.choice(sorted(adapter.iterdir())), chance)
        argv += ["--adapter", "adapter"]
    else:
        damage(chance.choice(sorted(files)), chance)
    more = [[], ["--dry-run"], ["--dry-run", "--json"], ["-q"], ["--dtype", "float16"], ["--json"]]
    return Case([*argv, *chance.choice(more), *chance.choice([[], ["--no-verify"]])])


def training(world: World, chance: random.Random) -> Case:
    """Data to train on: folders of captions, codes, pairs, conversations, mlx-lm's kinds."""
    picture()
    said = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "red"}]
    told = [{"from": "human", "value": f"<image>\n{QUESTION}"}, {"from": "gpt", "value": "red"}]
    rows: list[dict[str, object]] = [
        {"image_path": "in.png", "text": "a red circle"},
        {"image": "in.png", "conversations": told},
        {"messages": said},
        {"prompt": QUESTION, "completion": "red"},
        {"text": "a red circle"},
        {"data_type": "image_text", "text": "x", "vqcode_64": json.dumps([1, 2, 3, 4])},
    ]
    row = chance.choice(rows)
    data = Path(name(chance, chance.choice([".jsonl", ".json", ""])))
    way = chance.random()
    if way < 0.2:
        data.mkdir()
        picture(data / "a.png")
        (data / "a.txt").write_bytes(_utf8(text(chance)))
        damage(data / chance.choice(["a.png", "a.txt"]), chance)
    elif way < 0.4:
        data.write_text(values.json_text([row, dict(row)], chance), errors="surrogatepass")
    else:
        lines = [json.dumps(row), values.json_text(dict(row), chance), json.dumps(row)]
        data.write_text("\n".join(lines), errors="surrogatepass")
    options = ["--lr", "--warmup", "--rank", "--scale", "--layers", "--seed", "--instructions"]
    options += ["--val-split", "--dropout", "--max-grad-norm", "--optimizer", "--t2i-ratio"]
    argv = ["finetune", "--model", str(world.model), "-o", "ad", "--iters", "1", "--rank", "2"]
    if chance.random() < 0.6:
        argv.append("--dry-run")
        options += ["--iters", "--epochs", "--batch-size", "--grad-accum"]
    else:
        argv += ["--batch-size", "1", "--val-split", "0"]
    for option in chance.sample(options, chance.choice([0, 0, 1, 2])):
        argv.append(f"{option}={number(chance)}")
    share = chance.choice(["", "", f":{number(chance)}"])
    return Case([*argv, "--", f"./{data}{share}"])


def adapters(world: World, chance: random.Random) -> Case:
    """An adapter for the model with one file damaged, and its strength."""
    picture()
    folder = Path(name(chance, ""))
    shutil.copytree(world.tuned, folder)
    damage(chance.choice(sorted(path for path in folder.iterdir() if path.is_file())), chance)
    strength = chance.choice(["", "", f"={number(chance)}"])
    used = ["--adapter", f"./{folder}{strength}", "--model", str(world.model)]
    kinds = [
        ["ask", "in.png", QUESTION, "-m", "2", *used],
        ["generate", "x", "-o", "out.png", *used],
        ["fuse", *used, "--output", "fused"],
        ["info", f"./{folder}"],
        [*tuning(world), "--resume", "-o", f"./{folder}"],
    ]
    return Case(chance.choice(kinds))


def requests(world: World, chance: random.Random) -> Case:
    """What clients send to a server."""
    path, kind, body = bodies.make(chance)
    return Case([chance.choice(["POST"] * 9 + ["GET"]), path, kind], body, request=True)


SURFACES: dict[str, tuple[Make, int]] = {  # and how often
    "flags": (flags, 4),
    "texts": (texts, 3),
    "settings": (settings, 3),
    "pictures": (pictures, 3),
    "defaults": (defaults, 2),
    "edits": (edits, 2),
    "model": (model, 4),
    "codes": (codes, 2),
    "listed": (listed, 2),
    "scored": (scored, 2),
    "checkpoint": (checkpoint, 3),
    "training": (training, 3),
    "adapters": (adapters, 2),
    "requests": (requests, 4),
}
