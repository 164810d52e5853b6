"""FID and CLIP score, by the packages that papers use, where they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError, UsageError
from liquid_mlx.images import load_image

INSTALL = "pip install 'liquid-mlx[evaluate]'"
CLIP_MODEL, CLIP_WEIGHTS = "ViT-L-14", "openai"


def _package(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"{what} needs the package {name}: {INSTALL}.") from None


def fid(pictures: Path, reference: Path, *, device: str = "cpu", batch_size: int = 32) -> float:
    """Frechet inception distance by clean-fid, which the reference uses for MJHQ-30K.

    Args:
        pictures: the folder that was drawn; subfolders count.
        reference: a folder of pictures, or a .npz with their mu and sigma.

    Raises:
        UsageError: clean-fid is not installed.
        FileError: a folder has no pictures, or the statistics are damaged.
    """
    library = _package("cleanfid.fid", "FID")
    for folder in (pictures, reference):
        if not folder.exists():
            raise FileError(f"There is no {folder}.")
    if reference.is_dir():
        return float(
            library.compute_fid(
                str(pictures), str(reference), device=device, batch_size=batch_size, num_workers=0,
                use_dataparallel=False, verbose=False,
            )
        )  # fmt: skip
    import numpy as np

    try:
        with np.load(reference) as found:
            mu, sigma = found["mu"], found["sigma"]
    except (OSError, ValueError, KeyError):
        raise FileError(f"{reference} is no .npz with mu and sigma.") from None
    model = library.build_feature_extractor("clean", device, use_dataparallel=False)
    features = library.get_folder_features(
        str(pictures), model, num_workers=0, batch_size=batch_size, device=device, mode="clean",
        description="", verbose=False,
    )  # fmt: skip
    own = np.mean(features, axis=0), np.cov(features, rowvar=False)
    return float(library.frechet_distance(*own, mu, sigma))


def clip_scores(
    files: Sequence[Path],
    prompts: Sequence[str],
    *,
    model: str = CLIP_MODEL,
    weights: str = CLIP_WEIGHTS,
    device: str = "cpu",
) -> list[float]:
    """CLIP score of every picture with its prompt: 100 times the cosine, at least 0.

    Raises:
        UsageError: open_clip is not installed.
        FileError: the weights cannot be had.
    """
    library = _package("open_clip", "The CLIP score")
    torch = importlib.import_module("torch")
    try:
        network, _, prepare = library.create_model_and_transforms(model, pretrained=weights)
    except Exception as error:  # the package raises whatever the download raises
        raise FileError(
            f"CLIP's {model} ({weights}) cannot be loaded ({str(error)[:200]})."
        ) from None
    network = network.eval().to(device)
    tokenizer = library.get_tokenizer(model)
    scores = []
    with torch.no_grad():
        for file, prompt in zip(files, prompts, strict=True):
            image = prepare(load_image(file).convert("RGB"))[None].to(device)
            seen = network.encode_image(image)
            read = network.encode_text(tokenizer([prompt]).to(device))
            cosine = torch.nn.functional.cosine_similarity(seen, read).item()
            scores.append(max(0.0, 100 * cosine))
    return scores
