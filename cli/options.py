"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer

import liquid_mlx
from liquid_mlx.distributed.ranks import Team
from liquid_mlx.errors import UsageError
from liquid_mlx.params import SEEDS

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid

    from .terminal import Status

MODEL_HELP = "A folder, a Hub repo id, or demo."

Model = Annotated[
    str, typer.Option("--model", metavar="NAME", envvar="LIQUID_MODEL", help=MODEL_HELP)
]
OptionalModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        envvar="LIQUID_MODEL",
        help=MODEL_HELP.replace("demo", "demo (default)"),
        show_default=False,
        show_envvar=False,
    ),
]
Adapter = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="NAME[=S]",
        help="An adapter and its strength; repeatable.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
TensorParallel = Annotated[
    bool,
    typer.Option("--tensor-parallel", help="One model over all processes of mlx.launch."),
]
PipelineParallel = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="The same by layers: how many on each, or auto."),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out images whose files exist.")
]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", metavar="TYPE", help="float32, bfloat16 or float16."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print times and memory on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="JSON: one object, or an array of many.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help="One JSON object per line, as they come.")]
Preview = Annotated[
    bool | None,
    typer.Option("--preview/--no-preview", help="Show it in the terminal as it grows."),
]
Open = Annotated[bool, typer.Option("--open", help="Open the images when they are done.")]
Scale = Annotated[
    int, typer.Option(metavar="N", min=1, max=64, help="Enlarge N times.", show_default=False)
]
NoExif = Annotated[
    bool, typer.Option("--no-exif", help="Ignore EXIF orientation, as the reference does.")
]

# Sampling of text: ask, caption and chat.
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", "-m", metavar="N", help="Longest answer, in tokens.")
]
Temperature = Annotated[
    float, typer.Option("--temperature", "--temp", metavar="T", help="0 is greedy decoding.")
]
TopK = Annotated[
    int, typer.Option("--top-k", metavar="K", help="Sample from the K likeliest tokens; 0: all.")
]
TopP = Annotated[float, typer.Option("--top-p", metavar="P", help="Nucleus sampling; 1 is off.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=SEEDS - 1, help="Makes sampling repeatable."),
]

# Drawing: generate, edit and vary.
Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="NAME",
        help="A PNG or folder; {seed} {index} {prompt}.",
        show_default=False,
    ),
]
Count = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="N images: seed, seed + 1, ...", show_default=False),
]
Guidance = Annotated[
    float | None, typer.Option(metavar="G", help="Classifier-free guidance; 1 is off.")
]
ImageTemperature = Annotated[
    float | None,
    typer.Option("--temperature", "--temp", metavar="T", help="0 is greedy decoding."),
]
ImageTopK = Annotated[
    int | None, typer.Option(metavar="K", help="Sample from the K likeliest; 0: all.")
]
ImageTopP = Annotated[float | None, typer.Option(metavar="P", help="Nucleus sampling; 1 is off.")]
Instruction = Annotated[
    int | None,
    typer.Option(metavar="N", help="The words behind the prompt, 1 to 10."),
]
SidecarFile = Annotated[
    bool, typer.Option("--metadata", help="Also write settings to NAME.metadata.json.")
]
NoMetadata = Annotated[bool, typer.Option("--no-metadata", help="Write no settings into the PNG.")]
Stats = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Code by code: .json, or .png (heat maps)."),
]
LowRam = Annotated[bool, typer.Option("--low-ram", help="Free the language model before decoding.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print a JSON object per image.")]


class Sampling(TypedDict):
    """How text is sampled, as `Liquid.answer`, `caption` and `stream_chat` take it."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int | None


def seeded(sampling: Sampling, index: int) -> Sampling:
    """For item ``index`` of a run: ``seed + index``, so that each can be repeated alone."""
    seed = sampling["seed"]
    return {**sampling, "seed": None if seed is None else (seed + index) % SEEDS}


def output_format(as_json: bool, as_jsonl: bool) -> str:
    """The format that ``--json`` and ``--jsonl`` ask for: "json", "jsonl" or "text"."""
    if as_json and as_jsonl:
        raise UsageError("--json and --jsonl cannot be combined.")
    return "json" if as_json else "jsonl" if as_jsonl else "text"


def load_model(
    name: str,
    status: Status,
    *,
    dtype: str | None = None,
    low_ram: bool = False,
    verbose: bool = False,
    adapter: list[str] | None = None,
    team: Team | None = None,
    pipeline_parallel: str | None = None,
) -> Liquid:
    """Load a model while the status line says so; its time starts anew afterwards.

    Of a team every process loads a model of its own, or its part of one; if one process cannot,
    none goes on.
    """
    status.start(f"loading {name}")
    adapters = adapter or ()
    if team is not None and team.one_model:
        liquid = liquid_mlx.load(
            name,
            dtype=dtype,
            low_ram=low_ram,
            adapter=adapters,
            group=team.group,
            layers=layers_of(pipeline_parallel),
        )
    else:
        with (team or Team()).together():
            liquid = liquid_mlx.load(name, dtype=dtype, low_ram=low_ram, adapter=adapters)
    if verbose:
        status.say(f"{name} loaded in {status.seconds:.2f} s")
    status.start()
    return liquid


def layers_of(text: str | None) -> list[int] | Literal["auto"] | None:
    """What ``load`` takes for --pipeline-parallel."""
    if text is None or text == "auto":
        return text  # type: ignore[return-value]
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--pipeline-parallel is a number of layers for each process, such as 14,14, or auto; "
            f"not {text!r}."
        ) from None


def memory() -> str:
    """The most memory that MLX has held."""
    import mlx.core as mx

    return f"peak memory {mx.get_peak_memory() / 1e9:.2f} GB"
