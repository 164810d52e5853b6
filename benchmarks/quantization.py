"""Quality by quantization: ``python -m benchmarks.quantization MODEL [--share 0.4]``.

MODEL, a checkpoint or an unquantized converted folder of the demo model, is converted with
every quantization, and each result is scored as in ``training.evaluate``: on everyday prompts
and questions that training never saw. Prompts, questions and seeds are the same for all.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import liquid_mlx
from liquid_mlx.convert import convert
from training.evaluate import measure_prompts, measure_questions

QUANTIZATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    **{f"{bits} bits": {"quantize": True, "q_bits": bits} for bits in (8, 6, 5, 4, 3, 2)},
    **{mode: {"quantize": True, "q_mode": mode} for mode in ("mxfp8", "mxfp4", "nvfp4")},
    "mixed_3_6": {"quantize": True, "quant_predicate": "mixed_3_6"},
    "4 bits, embedding too": {"quantize": True, "q_bits": 4, "embed_bits": 4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--vqgan")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of pictures")
    parser.add_argument("--only", nargs="*", choices=QUANTIZATIONS, default=list(QUANTIZATIONS))
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    figures = {}
    print("| quantization | bits per weight | weights' error | cosine | images | answers |")
    print("|---|---|---|---|---|---|")
    for name in options.only:
        figures[name] = score(options.model, options.vqgan, QUANTIZATIONS[name], options.share)
        print(f"| {name} | " + " | ".join(cells(figures[name])) + " |", flush=True)
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")


def score(model: str, vqgan: str | None, options: dict[str, Any], share: float) -> dict[str, Any]:
    """Convert with one quantization in a folder of its own and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        done = convert(model, Path(folder) / "model", vqgan=vqgan, **options)
        liquid = liquid_mlx.load(Path(folder) / "model")
        return {
            **done.to_dict(),
            "images": measure_prompts(liquid, share).summary()["right"],
            "answers": measure_questions(liquid, share, off_grid=False).summary()["right"],
        }


def cells(figures: dict[str, Any]) -> list[str]:
    found = figures["verification"]
    error = max(found["errors"]["attention"], found["errors"]["MLP"])
    return [
        f"{figures['bits_per_weight']:.2f}",
        f"{error:.1%}",
        f"{found['cosine']:.4f}",
        f"{figures['images']:.0%}",
        f"{figures['answers']:.0%}",
    ]


if __name__ == "__main__":
    main()
