"""``convert``: from a checkpoint's name to a converted folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from liquid_mlx.config import Size
from liquid_mlx.convert.plan import Plan, make_plan
from liquid_mlx.convert.recipe import make_recipe
from liquid_mlx.convert.write import Report, check_target, whole_or_nothing, write_folder


def convert(
    hf_path: str | Path,
    mlx_path: str | Path = "mlx_model",
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
    vqgan_dtype: str = "float32",
    sizes: Sequence[Size | str] | None = None,
    progress: Report | None = None,
) -> Plan:
    """Convert a PyTorch Liquid checkpoint to a folder that liquid-mlx and mlx-lm open.

    Option names are those of ``mlx_lm.convert``. Memory does not grow with the checkpoint.
    """
    recipe = make_recipe(
        dtype=dtype,
        quantize=quantize,
        q_bits=q_bits,
        q_group_size=q_group_size,
        q_mode=q_mode,
        quant_predicate=quant_predicate,
        embed_bits=embed_bits,
    )
    plan = make_plan(
        Path(hf_path).expanduser(),
        recipe,
        vqgan=Path(vqgan).expanduser() if vqgan else None,
        vqgan_dtype=vqgan_dtype,
        sizes=[s if isinstance(s, Size) else Size.parse(s) for s in sizes or ()],
        source={"name": Path(hf_path).name},
    )
    target = Path(mlx_path).expanduser()
    check_target(target, plan.nbytes)
    with whole_or_nothing(target) as partial:
        write_folder(plan, partial, progress)
    return plan
