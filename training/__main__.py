"""Make the demo model from nothing: `python -m training FOLDER CHECKPOINT`.

Every stage leaves its result in FOLDER and is skipped, or gone on with, when that is there: stop
with Ctrl-C and start the same command again. The checkpoint in the official PyTorch layout is
written to CHECKPOINT. Stages: tokenizer (seconds), VQGAN (half an hour on 2 idle cores), language
model (three and a half hours, twice that where the CPU has no bfloat16).
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from training import export, tokenizer
from training.models import train_language_model, train_vqgan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for states in between")
    parser.add_argument("checkpoint", type=Path, help="the result")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vqgan-steps", type=int, default=train_vqgan.STEPS)
    parser.add_argument("--steps", type=int, default=train_language_model.STEPS)
    parser.add_argument("--processes", type=int, default=2, help="for the language model")
    parser.add_argument("--eager", action="store_true", help="do without torch.compile")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    words = folder / "tokenizer.json"
    if not words.exists():
        tokenizer.train(seed=options.seed).save(str(words))
    torch.set_num_threads(options.processes)
    if not (folder / "encoder.pt").exists():
        train_vqgan.make_encoder(folder, seed=options.seed)
    train_vqgan.train_decoder(folder, steps=options.vqgan_steps, seed=options.seed)
    learn = partial(
        train_language_model.train,
        folder,
        seed=options.seed,
        processes=options.processes,
        compiled=not options.eager,
    )
    learn(steps=min(options.steps, train_language_model.FIRST_STEPS))
    train_vqgan.refine_encoder(folder, seed=options.seed)
    learn(steps=options.steps)
    export.export(folder, options.checkpoint)
    print(f"Wrote {options.checkpoint}. Convert it: liquid convert --hf-path {options.checkpoint}")


if __name__ == "__main__":
    main()
