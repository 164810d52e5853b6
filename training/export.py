"""Write the trained models as a checkpoint in the official PyTorch layout."""

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer

from training import cells
from training import tokenizer as tk
from training.language_model import Gemma, GemmaConfig
from training.vqgan import VQGANConfig, VQModel

RECOMMENDED = {"guidance": 1.5, "temperature": 0.6, "top_k": 64, "top_p": 0.9}
SIZES = ("64x64", "96x64")


def load_language_model(folder: Path) -> Gemma:
    """The trained language model of a training folder."""
    text = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    model = Gemma(GemmaConfig(vocab_size=text + cells.code_count()))
    state = torch.load(folder / "language_model.pt", weights_only=True)
    model.load_state_dict(state["model"])
    return model


def load_vqgan(folder: Path) -> VQModel:
    """The trained VQGAN of a training folder."""
    model = VQModel(VQGANConfig(n_embed=cells.code_count()))
    model.load_state_dict(torch.load(folder / "vqgan.pt", weights_only=True)["model"])
    return model


def check_codes(model: VQModel) -> None:
    """Raise ValueError unless each cell of the world gets its own code."""
    patches, codes = cells.all_patches(np.random.default_rng(0))
    tiles = len(patches) // 64 * 64
    pictures = patches[:tiles].reshape(-1, 8, 8, 8, 8, 3)  # n, rows, columns, y, x, colour
    pictures = pictures.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 64, 64, 3)
    wanted = codes[:tiles].reshape(-1, 8, 8)
    wrong = 0
    with torch.no_grad():
        for start in range(0, len(pictures), 32):
            x = torch.from_numpy(pictures[start : start + 32]).permute(0, 3, 1, 2) / 127.5 - 1
            wrong += int((model.encode(x).numpy() != wanted[start : start + 32]).sum())
    if wrong:
        raise ValueError(f"{wrong} of {tiles} cells get another's code after rounding")


def export(folder: Path, target: Path) -> None:
    """Write the models of the training folder `folder` to `target`.

    The language model is stored in bfloat16, the VQGAN in float16; codes are checked with exactly
    the stored values.
    """
    (target / "chameleon").mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = load_language_model(folder)
    config = {
        **model.config.to_json(),
        "liquid": {"recommended": RECOMMENDED, "sizes": list(SIZES)},
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
    check_codes(vqgan.float())


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    export(options.folder, options.target)
