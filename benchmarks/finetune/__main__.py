"""``python -m benchmarks.finetune memory | speed | lessons | teach | bits``: a JSON object per row.

``memory``  a step's peak against its prediction, on random weights of several shapes (``--mid``:
            with the official vocabulary), with and without gradient checkpointing.
``speed``   tokens a second beside mlx-lm's trainer: the same shape, sequences, batch and rank.
``lessons`` writes what ``teach`` teaches (``--work``), for trying it by hand.
``teach``   the bundled model learns a shape, a colour's name and a kind of question that it does
            not know, from 40 pictures and 30 questions; what it knew before is asked again.
``bits``    the same in float32 and in 4 bits, and with the latter fused and quantized again.
"""

import argparse
import json
from pathlib import Path

from benchmarks.finetune import memory, speed, teach

WHAT = {
    "memory": memory.memory,
    "speed": speed.speed,
    "lessons": teach.write_lessons,
    "teach": teach.teach,
    "bits": teach.bits,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--mid", action="store_true", help="memory: the official vocabulary")
    parser.add_argument("--steps", type=int, default=5, help="speed: steps of each in a round")
    parser.add_argument("--rounds", type=int, default=2, help="speed: turns of each")
    parser.add_argument("--layers", type=int, default=6, help="speed: of the model")
    parser.add_argument("--model", default="demo", help="teach: the model")
    parser.add_argument("--count", type=int, default=40, help="teach: prompts of each kind")
    parser.add_argument("--share", type=float, default=0.3, help="teach: of everyday's questions")
    parser.add_argument("--known", type=int, default=600, help="teach: pictures of its own")
    parser.add_argument("--work", type=Path, help="teach: keep everything in this folder")
    parser.add_argument("--more", default="", help="teach: further options of liquid finetune")
    arguments = parser.parse_args()
    for row in WHAT[arguments.what](arguments):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
