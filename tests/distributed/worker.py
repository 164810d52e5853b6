"""One rank of a model that several hold: draws, writes and counts, and says it as JSON.

``python -m tests.distributed.worker FOLDER LAYERS WHAT [...]``, where LAYERS is ``-`` for tensor
parallel, or how many layers each rank has, and WHAT is ``logits``, ``codes`` or ``all``.
"""

from __future__ import annotations

import json
import sys

import mlx.core as mx

import liquid_mlx
from liquid_mlx import weights
from liquid_mlx.distributed.ranks import join
from liquid_mlx.errors import LiquidError

IDS = [2, 300, 301, 302, 7, 9, 11]


def results(liquid: liquid_mlx.Liquid, what: str) -> dict[str, object]:
    """What is to be the same however the model is held, and what each rank did for it."""
    backbone = liquid.engine.backbone
    found = {
        "logits": liquid.logits(IDS).tolist(),
        "layers": backbone.config.num_hidden_layers,
        "bytes": backbone.bytes_read,
    }
    if what == "codes":
        return found | briefly(liquid)
    return found | drawn(liquid) if what == "all" else found


def briefly(liquid: liquid_mlx.Liquid) -> dict[str, object]:
    """The most likely codes of a picture, and the most likely words about it."""
    (picture,) = liquid.generate_image("a red circle", seed=3, guidance=3, temperature=0)
    answer = liquid.answer(picture.image, "what?", max_tokens=4)
    return {"codes": picture.codes.tolist(), "answer": answer}


def drawn(liquid: liquid_mlx.Liquid) -> dict[str, object]:
    """Pictures and texts, and the all-sums of drawing two pictures."""
    sums = 0
    plain = mx.distributed.all_sum

    def counted(*arguments: object, **options: object) -> mx.array:
        nonlocal sums
        sums += 1
        return plain(*arguments, **options)

    one = liquid.generate_image("a red circle", seed=3, guidance=1, temperature=0)
    mx.distributed.all_sum = counted  # type: ignore[assignment]
    two = liquid.generate_image("a red circle", seed=3, count=2, guidance=5, temperature=1)
    mx.distributed.all_sum = plain
    windows = liquid.generate_image("blue", seed=1, guidance=1, temperature=0.9, window=3)
    turn = [{"role": "user", "content": "hello"}]
    return {
        "codes": [p.codes.tolist() for p in (*one, *two, *windows)],
        "text": liquid.chat(turn, max_tokens=10, temperature=0.9, seed=5),
        "answer": liquid.answer(two[0].image, "what?", max_tokens=6),
        "sums": sums,
    }


def main() -> None:
    weights.available = lambda: 0  # so that quantized ones stay packed, as on a GPU
    team = join()
    found = []
    tasks = [sys.argv[i : i + 3] for i in range(1, len(sys.argv), 3)]
    for folder, layers, what in tasks:
        shares = None if layers == "-" else [int(n) for n in layers.split(",")]
        try:
            liquid = liquid_mlx.load(folder, dtype="float32", group=team.group, layers=shares)
            found.append(results(liquid, what))
        except LiquidError as error:
            found.append({"error": str(error)})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
