"""Write the trained models as a checkpoint in the official PyTorch layout."""

import json
import random
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer

from training import cells
from training import tokenizer as tk
from training.language.words import known_words
from training.models import train_vqgan
from training.models.encoder import install
from training.models.language_model import Gemma, GemmaConfig
from training.models.vqgan import VQGANConfig, VQModel
from training.scenes import random_scene
from training.world import CELL, COLUMNS, ROWS, WIDE_COLUMNS, render

RECOMMENDED = {"guidance": 1.5, "temperature": 0.6, "top_k": 64, "top_p": 0.9}
SIZES = (f"{COLUMNS * CELL}x{ROWS * CELL}", f"{WIDE_COLUMNS * CELL}x{ROWS * CELL}")
NOTE = (
    "The bundled model knows coloured shapes only: circle, square, triangle, star, ring, cross, "
    "heart. Use --model for others."
)


def load_language_model(folder: Path) -> Gemma:
    """The trained language model of a training folder."""
    text = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    model = Gemma(GemmaConfig(vocab_size=text + cells.code_count()))
    state = torch.load(folder / "language_model.pt", weights_only=True)
    model.load_state_dict(state["model"])
    return model


def load_vqgan(folder: Path) -> VQModel:
    """The trained VQGAN of a training folder; its encoder may have gone on alone."""
    model = VQModel(VQGANConfig(n_embed=cells.code_count()))
    model.load_state_dict(torch.load(folder / "vqgan.pt", weights_only=True)["model"])
    install(train_vqgan.load_encoder(folder)[0], model)
    return model


@torch.no_grad()
def wrong_codes(model: VQModel, pictures: int = 256, seed: int = 0) -> tuple[int, int]:
    """How many cells of the model's own pictures get another's code, and of how many."""
    rng, wrong, total = random.Random(seed), 0, 0
    for _ in range(pictures // 16):
        scenes = [random_scene(rng, count=rng.randint(0, 4)) for _ in range(16)]
        x = torch.from_numpy(np.stack([render(s) for s in scenes])).permute(0, 3, 1, 2)
        wanted = np.stack([cells.scene_codes(s) for s in scenes])
        wrong += int((model.encode(x / 127.5 - 1).numpy() != wanted).sum())
        total += wanted.size
    return wrong, total


def export(folder: Path, target: Path) -> None:
    """Write the models of the training folder `folder` to `target`.

    The language model is stored in bfloat16, the VQGAN in float16; codes are counted that come out
    wrong with exactly the stored values.
    """
    (target / "chameleon").mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = load_language_model(folder)
    config = {
        **model.config.to_json(),
        "liquid": {
            "recommended": RECOMMENDED,
            "sizes": list(SIZES),
            "interleaved": True,
            "note": NOTE,
            "words": list(known_words()),
        },
    }
    weights = {name: p.bfloat16().contiguous() for name, p in model.checkpoint().items()}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {
        "_from_model_config": True,
        "bos_token_id": tk.BOS,
        "eos_token_id": tk.EOS,
        "pad_token_id": tk.PAD,
    }
    (target / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    tk.save(tokenizer, target, context=model.config.max_position_embeddings)

    vqgan = load_vqgan(folder).half()
    state = {name: p.contiguous() for name, p in vqgan.state_dict().items()}
    torch.save({"state_dict": state}, target / "chameleon" / "vqgan.ckpt")
    description = yaml.safe_dump(vqgan.config.to_yaml(), sort_keys=False)
    (target / "chameleon" / "vqgan.yaml").write_text(description)
    wrong, total = wrong_codes(vqgan.float())
    print(f"{wrong} of {total} cells get another's code")


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    export(options.folder, options.target)
