"""``convert`` and ``plan``: from a checkpoint's name to a converted folder."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from liquid_mlx.config import Size

from .planning.plan import Plan, make_plan
from .planning.quantize import make_recipe
from .progress import Clock, Progress
from .read.checkpoint import open_origin
from .read.locate import find_source
from .report import plan_to_dict
from .verify import Verification, bytes_to_verify, verify
from .write.atomic import (
    atomic_folder,
    check_target,
    check_unchanged,
    stamps,
)
from .write.folder import write_folder
from .write.model_card import write_card
from .write.upload import check_upload, upload

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Conversion:
    """What came of a conversion: the plan, time, the process's peak memory, and the comparison."""

    folder: Path
    plan: Plan
    seconds: float
    peak_bytes: int
    verification: Verification | None
    url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; sizes in bytes."""
        return {
            "folder": str(self.folder),
            **plan_to_dict(self.plan),
            "seconds": round(self.seconds, 2),
            "peak_bytes": self.peak_bytes,
            "verification": asdict(self.verification) if self.verification else None,
            "url": self.url,
        }


def plan(
    hf_path: str | Path,
    *,
    vqgan: str | Path | None = None,
    revision: str | None = None,
    dtype: str | None = None,
    quantize: bool = False,
    q_bits: int | None = None,
    q_group_size: int | None = None,
    q_mode: str = "affine",
    quant_predicate: str | None = None,
    embed_bits: int = 8,
    dequantize: bool = False,
    vqgan_dtype: str | None = None,
    sizes: Sequence[Size | str] = (),
    adapter: str | Path | None = None,
    weights: bool = False,
) -> Plan:
    """What ``convert`` would do with the same options. Reads headers and configuration only.

    Names of options are those of ``mlx_lm.convert``, where it has them.

    Args:
        hf_path: a folder with a PyTorch checkpoint, a converted folder, or a repo id.
        vqgan: the folder of ``vqgan.yaml`` and ``vqgan.ckpt``; None looks near the checkpoint.
        revision: of a repo: a branch, tag or commit.
        dtype: float32, float16 or bfloat16 for what is not quantized; None keeps the source's.
        quantize: quantize with ``q_mode`` (affine, mxfp4, mxfp8 or nvfp4), ``q_bits`` and
            ``q_group_size``, or by mlx-lm's mixed recipe ``quant_predicate``.
        embed_bits: of the embedding and an untied head, where the codes' rows are; 16 keeps them.
        dequantize: undo the quantization of a converted folder.
        vqgan_dtype: of the image tokenizer; None is float32.
        sizes: pictures that the model was trained to draw ("512x512"), the default first.
        adapter: the folder of a LoRA adapter in PEFT's layout, to be merged.
        weights: False is content without the weights' files; of a repo on the Hub then only the
            small files are downloaded.

    Raises:
        LiquidError: an input is missing or damaged, or an option is wrong.
    """
    recipe = make_recipe(
        dtype=dtype,
        quantize=quantize,
        q_bits=q_bits,
        q_group_size=q_group_size,
        q_mode=q_mode,
        quant_predicate=quant_predicate,
        embed_bits=embed_bits,
        vqgan_dtype=vqgan_dtype,
    )
    wanted = [size if isinstance(size, Size) else Size.parse(size) for size in sizes]
    source = find_source(hf_path, vqgan=vqgan, revision=revision, weights=weights)
    lora = Path(adapter).expanduser() if adapter else None
    origin = open_origin(source.folder, source.vqgan, lora, declared=not weights)
    note = {**source.note, **({"adapter": lora.resolve().name} if lora else {})}
    return make_plan(
        origin,
        recipe,
        dequantize=dequantize,
        vqgan_dtype=vqgan_dtype,
        sizes=wanted,
        source=note,
    )


class Options(TypedDict, total=False):
    """The options of ``plan``, which ``convert`` passes on."""

    vqgan: str | Path | None
    revision: str | None
    dtype: str | None
    quantize: bool
    q_bits: int | None
    q_group_size: int | None
    q_mode: str
    quant_predicate: str | None
    embed_bits: int
    dequantize: bool
    vqgan_dtype: str | None
    sizes: Sequence[Size | str]
    adapter: str | Path | None


def convert(
    hf_path: str | Path,
    mlx_path: str | Path = "mlx_model",
    *,
    verify_result: bool = True,
    upload_repo: str | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Unpack[Options],
) -> Conversion:
    """Convert a Liquid checkpoint to a folder that liquid-mlx and mlx-lm open.

    Memory does not grow with the checkpoint. The folder appears whole or not at all.

    Args:
        hf_path: a folder with a PyTorch checkpoint, a converted folder, or a repo id.
        mlx_path: the folder to make.
        verify_result: compare the written model with its source.
        upload_repo: where on the Hugging Face Hub to put the result.
        on_plan: called once, when all is checked and nothing is written.
        on_progress: called after every block.
        options: those of ``plan``.

    Raises:
        LiquidError: an input is missing or damaged, an option is wrong, there is no room, the
            Hub cannot be reached; nothing is left behind.
    """
    target = Path(mlx_path).expanduser()
    check_target(target)
    if upload_repo:
        check_upload(upload_repo)
    todo = plan(hf_path, weights=True, **options)
    check_target(target, todo.nbytes)
    if on_plan:
        on_plan(todo)
    start = time.monotonic()
    before = stamps(todo)
    with atomic_folder(target) as partial:
        more = bytes_to_verify(todo) if verify_result else 0
        clock = Clock(todo.source_bytes + more, on_progress)
        logits = write_folder(todo, partial, clock, compare=verify_result)
        check_unchanged(before)
        found = None if logits is None else verify(todo, partial, logits, clock)
        write_card(todo, partial, found, upload_repo)
    seconds = time.monotonic() - start
    url = upload(target, upload_repo) if upload_repo else None
    return Conversion(target, todo, seconds, peak_memory(), found, url)


def peak_memory() -> int:
    """The most memory that this process had resident, in bytes."""
    if sys.platform == "linux":  # there ru_maxrss starts with what the parent process had
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
