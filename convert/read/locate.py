"""A checkpoint's name -> folders on this machine, with only the files that a conversion needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.errors import HubError
from liquid_mlx.files import read_weight_map, user_path
from liquid_mlx.hub import download, is_repo_id

from .files import VQGAN

# The Spaces that hold the image tokenizers of models whose own repo has none.
VQGAN_SPACES = {"Junfeng5/Liquid_V1_7B": "Junfeng5/Liquid_demo"}

_SMALL = [
    *("*.json", "tokenizer.model", "chat_template.jinja", "README.md"),
    *("vqgan.yaml", "chameleon/vqgan.yaml"),
]


@dataclass(frozen=True)
class Source:
    """Folders of the language model and (None: near it) of the image tokenizer."""

    folder: Path
    vqgan: Path | None
    note: Mapping[str, Any]


def find_source(
    name: str | Path,
    *,
    vqgan: str | Path | None = None,
    revision: str | None = None,
    weights: bool = True,
) -> Source:
    """Find a checkpoint here or on the Hugging Face Hub.

    Args:
        name: a folder, or a repo id, which is downloaded into the Hugging Face cache.
        vqgan: the image tokenizer's folder, or the id of a Space that has it in ``chameleon``.
        revision: of the repo: a branch, tag or commit.
        weights: False downloads the small files only.

    Raises:
        HubError: there is no such folder or repo, or it cannot be reached.
        CheckpointError: the repo has no weights.
    """
    folder = user_path(name)
    repo = str(name)
    if folder.is_dir():
        return Source(folder, _vqgan(vqgan, weights), {"name": folder.resolve().name})
    if not is_repo_id(repo):
        raise HubError(
            f"There is no checkpoint {repo!r}: give a folder, or a Hugging Face repo id "
            "(owner/name)."
        )
    folder = download(repo, _SMALL, revision)
    if weights:
        # Of the same commit, whatever is pushed meanwhile: a snapshot's folder is named by it.
        folder = download(repo, [*_SMALL, *_weight_files(folder)], folder.name)
    if vqgan is None and repo in VQGAN_SPACES and not (folder / "chameleon" / VQGAN[0]).is_file():
        vqgan = VQGAN_SPACES[repo]
    note = {"name": repo, "revision": folder.name}
    return Source(folder, _vqgan(vqgan, weights), note)


def _weight_files(folder: Path) -> list[str]:
    """Patterns of the weights, safetensors if there are any, by the indices downloaded before."""
    vqgan = ["vqgan.safetensors", *VQGAN[1:], f"chameleon/{VQGAN[1]}"]
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if index.is_file():
            return [*vqgan, *sorted(set(read_weight_map(index).values()))]
    return [*vqgan, "model.safetensors", "pytorch_model.bin"]


def _vqgan(vqgan: str | Path | None, weights: bool) -> Path | None:
    if vqgan is None:
        return None
    folder = user_path(vqgan)
    if folder.exists():
        return folder
    if not is_repo_id(str(vqgan)):
        raise HubError(f"There is no folder {str(vqgan)!r} with an image tokenizer.")
    names = VQGAN if weights else VQGAN[:1]
    patterns = [f"{place}{name}" for place in ("chameleon/", "") for name in names]
    return download(str(vqgan), patterns, repo_type="space")
