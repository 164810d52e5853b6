"""What a model's maker stores of it, for other machines to compare with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx.files import atomic_write
from liquid_mlx.model import load

STORED = "drawn.json"  # in the model's folder
PROMPTS = (
    "a red circle on a white background",
    "a blue star on a cream background",
    "a large green heart above a small orange square on a white background",
    "a pink heart on a navy background",
)
QUESTIONS = ("What shape is it?", "What colour is it?")


def remember(folder: Path) -> Path:
    """Store what the model in a folder draws, sees and answers on this machine's CPU."""
    with mx.stream(mx.cpu):
        liquid = load(folder, dtype="float32")
        drawn = []
        for seed, prompt in enumerate(PROMPTS):
            (made,) = liquid.generate_image(prompt, seed=seed)
            picture, codes = made.image, made.codes.tolist()
            drawn.append(
                {
                    "prompt": prompt,
                    "seed": seed,
                    "codes": codes,
                    "colours": colours(picture, codes).tolist(),
                    "seen": liquid.encode(picture).tolist(),
                }
            )
            if seed == 0:
                answers = {q: liquid.answer(picture, q, max_tokens=8) for q in QUESTIONS}
    stored = {"weights": digests(folder), "drawn": drawn, "answers": answers}
    atomic_write(folder / STORED, json.dumps(stored) + "\n")
    return folder / STORED


def digests(folder: Path) -> list[str]:
    """SHA-256 of each file of weights."""
    files = sorted(folder.glob("*.safetensors"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def colours(picture: Image.Image, codes: Any) -> np.ndarray:
    """The mean colour behind each code: int [rows, columns, 3]."""
    rows, columns = len(codes), len(codes[0])
    pixels = np.asarray(picture)
    cells = pixels.reshape(rows, len(pixels) // rows, columns, pixels.shape[1] // columns, 3)
    mean: np.ndarray = np.rint(cells.mean(axis=(1, 3))).astype(int)
    return mean
