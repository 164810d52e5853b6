"""``liquid convert``: from a PyTorch checkpoint to a folder that runs on MLX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..printer import print_json, print_table
from ..terminal import Status, duration, one_line

if TYPE_CHECKING:
    from liquid_mlx.convert import Conversion, Plan, Progress


def convert(
    hf_path: Annotated[
        str,
        typer.Option(
            "--hf-path", "--model", metavar="NAME", help="A checkpoint's folder or repo id."
        ),
    ],
    mlx_path: Annotated[
        Path, typer.Option("--mlx-path", metavar="DIR", help="The folder to write.")
    ] = Path("mlx_model"),
    vqgan: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="A folder or Hugging Face Space with vqgan.yaml and vqgan.ckpt.",
            show_default="chameleon/ in or beside the checkpoint",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="A branch, tag or commit of the repo.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="float32, bfloat16 or float16.", show_default="the checkpoint's"
        ),
    ] = None,
    quantize: Annotated[
        bool, typer.Option("--quantize", "-q", help="Quantize the weights.")
    ] = False,
    q_bits: Annotated[
        int | None,
        typer.Option(metavar="N", help="2, 3, 4, 5, 6 or 8.", show_default="4"),
    ] = None,
    q_group_size: Annotated[
        int | None, typer.Option(metavar="N", help="32, 64 or 128.", show_default="64")
    ] = None,
    q_mode: Annotated[
        str, typer.Option(metavar="MODE", help="affine, mxfp4, mxfp8 or nvfp4.")
    ] = "affine",
    quant_predicate: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE", help="mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6, as in mlx-lm."
        ),
    ] = None,
    embed_bits: Annotated[
        int,
        typer.Option(metavar="N", help="Bits of the embedding and the head, 16: not quantized."),
    ] = 8,
    dequantize: Annotated[
        bool,
        typer.Option("--dequantize", "-d", help="Undo the quantization of a converted folder."),
    ] = False,
    vqgan_dtype: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="float32 or float16.", show_default="float32"),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            metavar="WxH,...",
            help="Image sizes it was trained on, the default first.",
            show_default="one square",
        ),
    ] = "",
    interleaved: Annotated[
        bool,
        typer.Option("--interleaved", help="The model was trained to draw within an answer."),
    ] = False,
    adapter: Annotated[
        str | None, typer.Option(metavar="DIR", help="A LoRA adapter (PEFT) to merge.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare the result with its source.")
    ] = True,
    upload_repo: Annotated[
        str | None, typer.Option(metavar="ID", help="A Hugging Face repo to upload the result to.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Convert a Liquid checkpoint from PyTorch.

    The checkpoint may be larger than memory. Options named as in mlx_lm.convert mean the same.
    """
    from liquid_mlx import convert as converter  # MLX, which help does without
    from liquid_mlx.convert.report import plan_to_dict

    options: dict[str, Any] = {
        "vqgan": vqgan,
        "revision": revision,
        "dtype": dtype,
        "quantize": quantize,
        "q_bits": q_bits,
        "q_group_size": q_group_size,
        "q_mode": q_mode,
        "quant_predicate": quant_predicate,
        "embed_bits": embed_bits,
        "dequantize": dequantize,
        "vqgan_dtype": vqgan_dtype,
        "sizes": [size for size in sizes.split(",") if size.strip()],
        "interleaved": interleaved,
        "adapter": adapter,
    }
    silent = as_json or quiet
    if dry_run:
        plan = converter.plan(hf_path, **options)
        if as_json:
            print_json(plan_to_dict(plan), indent=2)
        else:
            _print_plan(plan)
        return
    with Status(quiet=silent) as status:
        done = converter.convert(
            hf_path,
            mlx_path,
            **options,
            verify_result=verify,
            upload_repo=upload_repo,
            on_plan=None if silent else _shows_plan(status),
            on_progress=lambda progress: status.show(_progress_line(progress)),
        )
    if as_json:
        print_json(done.to_dict(), indent=2)
    elif not quiet:
        _echo(_result_lines(done))


def _echo(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _print_plan(plan: Plan) -> None:
    from liquid_mlx.convert.report import PLAN_HEADER, plan_lines, plan_rows, plan_title

    _echo([plan_title(plan), ""])
    print_table(PLAN_HEADER, plan_rows(plan), right=(1, 3))
    _echo(["", *plan_lines(plan)])


def _shows_plan(status: Status) -> Callable[[Plan], None]:
    def show(plan: Plan) -> None:
        _print_plan(plan)
        status.show("Starting")

    return show


def _progress_line(progress: Progress) -> str:
    left = progress.seconds_left
    speed = progress.done / max(progress.seconds, 1e-9)
    return (
        f"{progress.done / progress.total:4.0%}  {progress.done / 1e9:.2f} of "
        f"{progress.total / 1e9:.2f} GB  {speed / 1e6:.0f} MB/s  "
        f"{duration(left) if left is not None else '?'} left  {one_line(progress.part)}"
    )


def _result_lines(done: Conversion) -> list[str]:
    from liquid_mlx.convert.report import gigabytes, verification_lines

    return [
        f"{done.folder} is ready: {gigabytes(done.plan.nbytes)} in {duration(done.seconds)}, "
        f"{gigabytes(done.peak_bytes)} of memory at most",
        *(verification_lines(done.verification) if done.verification else []),
        *([f"Uploaded to {done.url}"] if done.url else []),
    ]
