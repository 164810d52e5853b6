"""Make the VQGAN: the encoder and the codebook from single cells, then the decoder on pictures."""

import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import cells
from training.models import local_encoder
from training.models.vqgan import VQGANConfig, VQModel
from training.world import CELL

ENCODER_STEPS = 6500


def encoder_state(folder: Path) -> dict[str, Tensor]:
    """Of `make_encoder`: the pieces, the codebook, and the network's weights."""
    return torch.load(folder / "encoder.pt", weights_only=True)


def make_encoder(folder: Path, *, steps: int = ENCODER_STEPS, seed: int = 0) -> None:
    """Fit the encoder and the codebook into `folder`/encoder.pt."""
    pieces = np.concatenate((cells.grid_pieces()[1], cells.free_pieces(seed)))
    network, book = local_encoder.fit(pieces, steps=steps, seed=seed)
    state = {"pieces": torch.from_numpy(pieces), "book": book}
    state |= {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save(state, folder / "encoder.part")
    (folder / "encoder.part").replace(folder / "encoder.pt")


def load_network(folder: Path) -> tuple[local_encoder.CellNetwork, Tensor]:
    """The network on single cells, ready to use, and the codebook."""
    state = encoder_state(folder)
    network = local_encoder.CellNetwork(torch.zeros(1, 3, CELL, CELL))
    prefix = "network."
    weights = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    network.load_state_dict(weights)
    return network.eval(), state["book"]


@torch.no_grad()
def encode(network: local_encoder.CellNetwork, book: Tensor, pictures: list[np.ndarray]) -> np.ndarray:
    """Codes of pictures uint8 [128, 128, 3], int64 [n, 64], as the whole encoder gives them."""
    cut = np.concatenate([cells.cells_of(p).reshape(-1, CELL, CELL, 3) for p in pictures])
    x = torch.from_numpy(cut).float().permute(0, 3, 1, 2) / 127.5 - 1
    found = [local_encoder.distances(network(part), book).argmin(-1) for part in x.split(4096)]
    return torch.cat(found).view(len(pictures), -1).numpy()


def new_model(folder: Path, seed: int) -> VQModel:
    """A VQModel with the encoder and codebook of `folder`, its decoder untrained."""
    torch.manual_seed(seed)
    model = VQModel(VQGANConfig(n_embed=cells.code_count()))
    network, book = load_network(folder)
    local_encoder.install(network, model)
    with torch.no_grad():
        model.quantize.embedding.weight.copy_(book)
    return model
