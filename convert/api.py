"""``convert`` and ``plan``: from a checkpoint's name to a converted folder."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.config import Size
from liquid_mlx.files import user_path

from .planning.options import Options
from .planning.plan import Plan, make_plan
from .progress import Clock, Progress, Report
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
    interleaved: bool = False,
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
        interleaved: the model was trained to draw within an answer.
        adapter: the folder of a LoRA adapter in PEFT's layout, to be merged.
        weights: False is content without the weights' files; of a repo on the Hub then only the
            small files are downloaded.

    Raises:
        LiquidError: an input is missing or damaged, or an option is wrong.
    """
    options = Options(
        vqgan=vqgan,
        revision=revision,
        dtype=dtype,
        quantize=quantize,
        q_bits=q_bits,
        q_group_size=q_group_size,
        q_mode=q_mode,
        quant_predicate=quant_predicate,
        embed_bits=embed_bits,
        dequantize=dequantize,
        vqgan_dtype=vqgan_dtype,
        sizes=sizes,
        interleaved=interleaved,
        adapter=adapter,
    )
    return _plan(hf_path, options, weights)


def _plan(hf_path: str | Path, options: Options, weights: bool) -> Plan:
    source = find_source(hf_path, vqgan=options.vqgan, revision=options.revision, weights=weights)
    adapter = user_path(options.adapter) if options.adapter else None
    origin = open_origin(source.folder, source.vqgan, adapter, declared=not weights)
    note = {**source.note, **({"adapter": adapter.resolve().name} if adapter else {})}
    return make_plan(origin, options, note)


def convert(
    hf_path: str | Path,
    mlx_path: str | Path = "mlx_model",
    *,
    verify_result: bool = True,
    upload_repo: str | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
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
    interleaved: bool = False,
    adapter: str | Path | None = None,
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
        vqgan, revision, dtype, quantize, q_bits, q_group_size, q_mode, quant_predicate, embed_bits,
            dequantize, vqgan_dtype, sizes, interleaved, adapter: as ``plan`` has them.

    Raises:
        LiquidError: an input is missing or damaged, an option is wrong, there is no room, the
            Hub cannot be reached; nothing is left behind.
    """
    options = Options(
        vqgan=vqgan,
        revision=revision,
        dtype=dtype,
        quantize=quantize,
        q_bits=q_bits,
        q_group_size=q_group_size,
        q_mode=q_mode,
        quant_predicate=quant_predicate,
        embed_bits=embed_bits,
        dequantize=dequantize,
        vqgan_dtype=vqgan_dtype,
        sizes=sizes,
        interleaved=interleaved,
        adapter=adapter,
    )
    target = user_path(mlx_path)
    check_target(target)
    if upload_repo:
        check_upload(upload_repo)
    todo = _plan(hf_path, options, weights=True)
    check_target(target, todo.nbytes)
    if on_plan:
        on_plan(todo)
    start = time.monotonic()
    found = _write(todo, target, verify_result, upload_repo, on_progress)
    seconds = time.monotonic() - start
    url = upload(target, upload_repo) if upload_repo else None
    return Conversion(target, todo, seconds, peak_memory(), found, url)


def _write(
    todo: Plan, target: Path, verify_result: bool, repo: str | None, on_progress: Report | None
) -> Verification | None:
    """Carry a plan out, whole or not at all; the comparison with its source, if wanted."""
    before = stamps(todo)
    with atomic_folder(target) as tmp:
        more = bytes_to_verify(todo) if verify_result else 0
        clock = Clock(todo.source_bytes + more, on_progress)
        logits = write_folder(todo, tmp, clock, compare=verify_result)
        check_unchanged(before)
        found = None if logits is None else verify(todo, tmp, logits, clock)
        write_card(todo, tmp, found, repo or target.name)
    return found


def peak_memory() -> int:
    """The most memory that this process had resident, in bytes."""
    if sys.platform == "linux":  # there ru_maxrss starts with what the parent process had
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
