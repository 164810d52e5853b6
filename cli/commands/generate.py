"""``liquid generate``: pictures of prompts."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import options
from ..outputs import DEFAULT_NAME

_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("prompt", "model", "dtype"), str),
    **dict.fromkeys(("seed", "top_k", "width", "height"), int),
    **dict.fromkeys(("guidance", "temperature", "top_p"), (int, float)),
}


def generate(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="What to draw; - reads a line each from stdin."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help="A prompt; may be repeated."),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file of prompts, one per line; - is stdin."),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="NAME", help="A PNG or folder; {seed} {index} {prompt}."
        ),
    ] = DEFAULT_NAME,
    overwrite: options.Overwrite = False,
    model: options.ModelOrPicture = None,
    seed: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="A picture for each seed.")
    ] = None,
    auto_seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="N pictures, seeds drawn.")
    ] = None,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, help="N pictures at once: seed, seed + 1, ...")
    ] = 1,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="One of the model's sizes.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Width, instead of --size.")
    ] = None,
    height: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Height, instead of --size.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(metavar="G", help="How strongly the prompt steers; 1 is off.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "--temp", metavar="T", help="0 takes the likeliest code."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Only the K likeliest codes (0: all).")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(metavar="P", help="Only the likeliest that make up P.")
    ] = None,
    dtype: options.Dtype = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config-from-metadata",
            "-C",
            metavar="FILE",
            help="Settings of a picture or a sidecar.",
        ),
    ] = None,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Settings beside the PNG too (.metadata.json).")
    ] = False,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="No settings inside the PNG.")
    ] = False,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="All pictures in one PNG, too.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the picture in the terminal as it grows.")
    ] = False,
    stepwise_image_output_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A PNG for each finished row.")
    ] = None,
    keep_partial: Annotated[
        bool, typer.Option("--keep-partial", help="On Ctrl-C, write the rows that are done.")
    ] = False,
    low_ram: Annotated[
        bool, typer.Option("--low-ram", help="Free the language model before pixels are decoded.")
    ] = False,
    window: Annotated[
        str, typer.Option(metavar="N", help="Codes tried per step: 1 to 8, or auto (timed once).")
    ] = "1",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object per picture.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw pictures of prompts. Unset settings are the model's own."""
    if metadata and no_metadata:
        raise typer.BadParameter("--metadata and --no-metadata exclude each other.")
    given: dict[str, Any] = {
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "window": _window(window),
        **_size(size, width, height),
    }
    repeated = _stored_settings(config) if config else {}
    settings = {
        name: repeated.get(name) if value is None else value for name, value in given.items()
    }
    texts = _prompts([*(prompts or []), *(prompt or [])], prompt_file)
    if not texts and "prompt" in repeated:
        texts = [repeated["prompt"]]
    if not texts:
        raise typer.BadParameter("say what to draw, or name a --prompt-file.")
    seeds = _seeds(seed, auto_seeds, count, repeated.get("seed"))

    from liquid_mlx import load
    from liquid_mlx.errors import LiquidError

    from ..contact_sheet import contact_sheet as write_sheet
    from ..drawing import Draw, OutputOptions, draw, sidecar, summary
    from ..outputs import check_free, picture_paths
    from ..terminal import Status

    wanted = [(text, one + i) for text in texts for one in seeds for i in range(count)]
    paths = picture_paths(output, wanted)
    also = [sidecar(path) for path in paths] if metadata else []
    check_free([*paths, *also, *([contact_sheet] if contact_sheet else [])], overwrite)
    tasks = [Draw(*wanted[i], paths=paths[i : i + count]) for i in range(0, len(wanted), count)]
    how = OutputOptions(
        settings={name: value for name, value in settings.items() if value is not None},
        metadata=not no_metadata,
        sidecar=metadata,
        preview=preview and not quiet,
        keep_partial=keep_partial,
        steps_folder=stepwise_image_output_dir,
        overwrite=overwrite,
    )
    if how.steps_folder:
        how.steps_folder.mkdir(parents=True, exist_ok=True)
    name = model or repeated.get("model") or "demo"
    failed = 0
    sheet: list[tuple[Path, int]] = []
    with Status(quiet) as status:
        status.start(f"loading {name}")
        liquid = load(name, dtype=dtype or repeated.get("dtype"), low_ram=low_ram)
        if verbose:
            status.say(f"{name} loaded in {status.seconds:.2f} s")
        for i, task in enumerate(tasks):
            title = task.prompt if len(tasks) == 1 else f"{i + 1} of {len(tasks)}  {task.prompt}"
            try:
                drawn = draw(liquid, task, how, status, title)
            except LiquidError as error:
                if len(tasks) == 1:
                    raise
                status.warn(f"{task.prompt!r}: {error}")
                failed += 1
                continue
            for one in drawn:
                status.say(summary(one, one.picture.codes.size))
                if as_json:
                    print(json.dumps(one.to_dict(), ensure_ascii=False), flush=True)
                elif not (status.live and sys.stdout.isatty()):  # there the summary says it
                    print(one.path, flush=True)
                sheet.append((one.path, one.picture.settings.seed))
        if contact_sheet and sheet:
            write_sheet(contact_sheet, sheet)
            status.say(f"{contact_sheet}  {len(sheet)} pictures")
        if verbose:
            status.say(options.memory())
    if failed:
        raise typer.Exit(3)


def _prompts(texts: Sequence[str], file: Path | None) -> list[str]:
    from ..outputs import read_lines

    found: list[str] = []
    for text in texts:
        found += read_lines(Path("-")) if text == "-" else [text]
    return found + (read_lines(file) if file else [])


def _window(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"a window is 1 to 8, or auto; not {text!r}.") from None


def _size(size: str | None, width: int | None, height: int | None) -> dict[str, int | None]:
    if size is None:
        return {"width": width, "height": height}
    if width or height:
        raise typer.BadParameter("--size excludes --width and --height.")
    from liquid_mlx.config import Size

    parsed = Size.parse(size)
    return {"width": parsed.width, "height": parsed.height}


def _seeds(text: str | None, auto: int | None, count: int, stored: int | None) -> list[int]:
    if text is not None and auto is not None:
        raise typer.BadParameter("--seed and --auto-seeds exclude each other.")
    if auto is not None:
        seeds = random.SystemRandom().sample(range(2**32 - count), auto)
    elif text is not None:
        try:
            seeds = [int(part) for part in text.split(",")]
        except ValueError:
            raise typer.BadParameter(f"a seed is a whole number, or 1,2,3; not {text!r}.") from None
    else:
        seeds = [random.SystemRandom().randrange(2**32 - count)] if stored is None else [stored]
    if len(seeds) > 1 and count > 1:
        raise typer.BadParameter("--count goes with one seed: leave it out, or give one seed.")
    return seeds


def _stored_settings(path: Path) -> dict[str, Any]:
    """The settings of a picture or of a sidecar; raises LiquidError if there are none."""
    from liquid_mlx.errors import FileError
    from liquid_mlx.files import read_json
    from liquid_mlx.images import read_settings

    values = read_json(path) if path.suffix == ".json" else read_settings(path)
    for name, value in values.items():
        if name in _KINDS and not isinstance(value, _KINDS[name]):
            raise FileError(f"{path} says {name} is {value!r}: it was not written by liquid-mlx.")
    return values
