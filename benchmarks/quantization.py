"""Quality by quantization: ``python -m benchmarks.quantization MODEL [--share 0.2]``.

MODEL, a checkpoint or an unquantized converted folder of the demo model, is converted with
every quantization, and each result is scored as in ``training.evaluate``: on everyday prompts
and questions that training never saw. Prompts, questions and seeds are the same for all. KL is
that of ``liquid compare``, against the unquantized model on sequences that it draws: how well it
predicts what is lost is the rank correlation under the table. With ``--json FILE`` a run goes on
where another stopped. ``python -m benchmarks.docs`` plots the table of
``docs/reference/quantization.md``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import liquid_mlx
from liquid_mlx.convert import convert
from liquid_mlx.evaluation.compare import compare
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
    parser.add_argument("--sequences", type=int, default=16, help="that KL is measured on")
    parser.add_argument("--json", type=Path, help="write all figures here; what it has is kept")
    options = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    if options.json and options.json.exists():
        figures = json.loads(options.json.read_text())
    print("| quantization | bits per weight | weights' error | cosine | images | answers | KL |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        convert(options.model, whole, vqgan=options.vqgan)
        for name in options.only:
            if name not in figures:
                figures[name] = score(options, name, whole)
            print(f"| {name} | " + " | ".join(cells(figures[name])) + " |", flush=True)
            if options.json:
                options.json.write_text(json.dumps(figures, indent=1) + "\n")
    for kind in ("images", "answers"):
        pairs = [(found["kl"]["guided"], -found[kind]) for found in figures.values()]
        differ = len({found[kind] for found in figures.values()}) > 1
        told = f"{rank_correlation(pairs):.2f}" if differ else "none, as all have the same share"
        print(f"\nRank correlation of KL and the drop in {kind}: {told}")


def score(options: argparse.Namespace, name: str, whole: Path) -> dict[str, Any]:
    """Convert with one quantization in a folder of its own and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        done = convert(options.model, place, vqgan=options.vqgan, **QUANTIZATIONS[name])
        liquid, share = liquid_mlx.load(place), options.share
        compared = compare(str(whole), str(place), count=options.sequences)["scores"]
        kinds = ("conditional", "unconditional", "guided", "text")
        return {
            **done.to_dict(),
            "images": measure_prompts(liquid, share).summary()["right"],
            "answers": measure_questions(liquid, share, off_grid=False).summary()["right"],
            "kl": {kind: compared[kind]["kl"] for kind in kinds},
        }


def rank_correlation(pairs: list[tuple[float, float]]) -> float:
    """Spearman's: the correlation of ranks, equal values sharing theirs."""
    values = np.array(pairs)
    ranks = [(column[:, None] > column).sum(1) + (column[:, None] == column).sum(1) / 2
             for column in values.T]  # fmt: skip
    return float(np.corrcoef(ranks)[0, 1])


def cells(figures: dict[str, Any]) -> list[str]:
    found = figures["verification"]
    error = max(found["errors"]["attention"], found["errors"]["MLP"])
    return [
        f"{figures['bits_per_weight']:.2f}",
        f"{error:.1%}",
        f"{found['cosine']:.4f}",
        f"{figures['images']:.1%}",
        f"{figures['answers']:.1%}",
        f"{figures['kl']['guided']:.2g}",
    ]


if __name__ == "__main__":
    main()
