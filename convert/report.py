"""A plan, and what came of it, in words and as JSON."""

from __future__ import annotations

from typing import Any

from liquid_mlx.memory import Drawing, one_image

from .planning.plan import Plan
from .planning.tensor import Part, kind_of
from .read.tensor import MLX
from .verify import Verification


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; sizes in bytes."""
    memory = estimate(plan)
    return {
        "source": dict(plan.config.source),
        "model_type": plan.config.backbone.model_type,
        "parameters": plan.parameters,
        "dtype": plan.config.dtype,
        "bits_per_weight": round(plan.bits_per_weight, 3),
        "source_bytes": plan.source_bytes,
        "bytes": plan.nbytes,
        "parts": _groups(plan),
        "sizes": [str(size) for size in plan.config.sizes],
        "memory": {
            "weights": memory.weights,
            "cache": memory.cache,
            "image_tokenizer": memory.tokenizer,
            "decoding": memory.decoding,
            "total": memory.total,
            "low_ram": memory.low_ram,
            "smallest_mac_gb": smallest_mac(memory.total),
            "smallest_mac_gb_low_ram": smallest_mac(memory.low_ram),
        },
        "notes": list(plan.notes),
    }


def plan_title(plan: Plan) -> str:
    """What is converted, on one line."""
    return (
        f"{plan.config.backbone.model_type}, {_count(plan.parameters)} parameters, "
        f"{plan.config.vqgan.n_embed} image tokens, {plan.config.sizes[0]} images"
    )


PLAN_HEADER = ("PART", "PARAMETERS", "STORED AS", "SIZE")


def plan_rows(plan: Plan) -> list[list[str]]:
    """A table of the parts, under ``PLAN_HEADER``."""
    return [
        [g["part"], _count(g["parameters"]), g["form"], gigabytes(g["bytes"])]
        for g in _groups(plan)
    ]


def plan_lines(plan: Plan) -> list[str]:
    """What the conversion comes to, and what the result needs, as lines of text."""
    memory = estimate(plan)
    return [
        f"{gigabytes(plan.source_bytes)} become {gigabytes(plan.nbytes)}: "
        f"{plan.bits_per_weight:.2f} bits per weight of the language model",
        f"One image takes about {gigabytes(memory.total)} of memory, {_mac(memory.total)}; "
        f"with --low-ram {gigabytes(memory.low_ram)}, {_mac(memory.low_ram)} (estimates)",
        *(f"Note: {note}" for note in plan.notes),
    ]


def _mac(needed: int) -> str:
    size = smallest_mac(needed)
    return f"a Mac with {size} GB or more" if size else "more than any Mac has"


def verification_lines(found: Verification) -> list[str]:
    """The comparison with the source as lines of text."""
    errors = ", ".join(f"{kind} {error:.2%}" for kind, error in found.errors.items() if error)
    return [
        f"Compared with the source: logits' cosine {found.cosine:.5f} or more, same first choice "
        f"at {found.agreement:.0%} of positions, pixels within {found.pixels:.2g} of 255",
        f"Relative error of weights: {errors or 'none'}",
    ]


def _groups(plan: Plan) -> list[dict[str, Any]]:
    """One row for each kind of part and each dtype or quantization that it is stored in."""
    rows: dict[tuple[str, str], list[Part]] = {}
    for part in plan.parts:
        rows.setdefault((kind_of(part), stored_as(part)), []).append(part)
    for part in plan.vqgan_parts:
        rows.setdefault(("image tokenizer", part.dtype), []).append(part)
    return [
        {
            "part": kind,
            "form": stored,  # the key that scripts read
            "tensors": len(parts),
            "parameters": sum(part.parameters for part in parts),
            "bytes": sum(part.nbytes for part in parts),
        }
        for (kind, stored), parts in rows.items()
    ]


def stored_as(part: Part) -> str:
    """Its dtype or quantization, in a few words."""
    how = part.quantization
    if how is None:
        return part.dtype
    name = f"{how.bits} bits" if how.mode == "affine" else how.mode
    return f"{name}, groups of {how.group_size}"


def _count(number: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def gigabytes(number: float) -> str:
    """Bytes as people write them."""
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number / 1e3:.1f} kB"


MACS_GB = (8, 16, 24, 32, 48, 64, 96, 128, 256, 512)


def smallest_mac(needed: int) -> int | None:
    """Unified memory in GB of the smallest Mac with room for ``needed`` bytes.

    macOS lets the GPU use about two thirds of up to 36 GB, and three quarters of more.
    """
    for size in MACS_GB:
        share = 2 / 3 if size <= 36 else 3 / 4
        if needed <= share * size * 2**30:
            return size
    return None


def estimate(plan: Plan) -> Drawing:
    """Memory of the model that the plan makes, computing in the dtype that it is stored in."""
    tokenizer = 4 * sum(part.parameters for part in plan.vqgan_parts)  # float32 once loaded
    weights = sum(part.nbytes for part in plan.parts)
    return one_image(plan.config, weights, tokenizer, MLX[plan.config.dtype])
