"""Do the loops compute the same? ``python -m benchmarks.check``: greedy codes against stored ones.

The stored codes were drawn by the PyTorch reference itself (tests/data/golden). A loop is counted
up to the first place where the reference's two best codes are closer than 1e-4. The plain mlx-lm
loop is right only without guidance: with it, it would need a mask for the shorter prompt.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.loops.geometry import Model
from benchmarks.loops.side_by_side import LOOPS

GOLDEN = Path(__file__).parents[1] / "tests/data/golden"
CASES = ("gemma_tiny", "gemma2_tiny", "llama_tiny", "qwen2_tiny")


def main() -> None:
    print("| case | guidance | " + " | ".join(LOOPS) + " |\n|---|---|" + "---|" * len(LOOPS))
    for case in CASES:
        folder = GOLDEN / case
        config = json.loads((folder / "config.json").read_text())
        facts = json.loads((folder / "case.json").read_text())
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        offset = tokenizer.get_vocab_size(with_added_tokens=True)
        model = Model(config, offset, facts["image_codes"], 0, folder)
        arrays = np.load(folder / "golden_llm.npz")
        loops = [
            importlib.import_module(f"benchmarks.loops.{m}").Loop(model) for m in LOOPS.values()
        ]
        for scale in (1, 3, 7):
            key = f"t2i/cfg{scale}"
            masks = arrays[f"{key}/attention_mask"].astype(bool)
            rows = [
                ids[m].tolist() for ids, m in zip(arrays[f"{key}/input_ids"], masks, strict=True)
            ]
            free = rows[len(rows) // 2 :] if scale > 1 else [row[:1] for row in rows]
            codes, margins = arrays[f"{key}/codes"], arrays[f"{key}/margin"]
            cells = []
            for loop in loops:
                same = whole = 0
                for i, expected in enumerate(codes):
                    close = np.flatnonzero(margins[i] < 1e-4)
                    stop = int(close[0]) if len(close) else len(expected)
                    drawn = loop.draw(
                        rows[i],
                        free[i],
                        len(expected),
                        [0],
                        guidance=scale,
                        temperature=0.0,
                        top_k=0,
                        top_p=1.0,
                    )[0]
                    same += int((drawn[:stop] == expected[:stop]).sum())
                    whole += stop
                cells.append(f"{same}/{whole}")
            print(f"| {case} | {scale} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
