"""Predictions: seconds per image on each Apple chip, from bytes per step and memory bandwidth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.config import BackboneConfig, LiquidConfig

from ..printer import print_table
from ..terminal import one_line

PROMPT = 16  # tokens before the first code
ROWS = 2  # with guidance
HEAD_BITS = 8.5  # embedding and head of a quantized model: 8 bits in groups of 64
WEIGHTS = {"4 bits": 4.5, "6 bits": 6.5, "8 bits": 8.5, "bfloat16": 16.0}  # with scales and biases
HALF = 2  # bytes of a bfloat16


@dataclass(frozen=True)
class Geometry:
    """What decides a step's bytes."""

    name: str
    backbone: BackboneConfig
    codes: int
    picture: int

    @classmethod
    def of(cls, name: str, config: LiquidConfig) -> Geometry:
        rows, columns = config.grid(config.sizes[0])
        return cls(name, config.backbone, config.vqgan.n_embed, rows * columns)

    @property
    def body(self) -> int:
        """Parameters of all layers; norms and biases are too few to count."""
        c = self.backbone
        heads = 2 * c.num_attention_heads + 2 * c.num_key_value_heads  # q and o, k and v
        layer = heads * c.head_dim * c.hidden_size + 3 * c.hidden_size * c.intermediate_size
        return c.num_hidden_layers * layer

    def step_bytes(self, bits: float) -> float:
        """Read per step: the body, the head's image rows, keys and values in mid-image."""
        c = self.backbone
        token = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * HALF
        return (
            self.body * bits / 8
            + self.code_bytes(bits)
            + ROWS * (PROMPT + self.picture / 2) * token
        )

    def code_bytes(self, bits: float) -> float:
        """The head's rows of the codes."""
        return self.codes * self.backbone.hidden_size * min(max(bits, HEAD_BITS), 16) / 8

    def least_bytes(self, bits: float) -> float:
        """Without which no image is drawn: all weights, keys and values; low_ram frees the rest."""
        c = self.backbone
        token = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * HALF
        return self.weight_bytes(bits) + ROWS * (PROMPT + self.picture) * token

    def weight_bytes(self, bits: float) -> float:
        """Of the whole language model in memory."""
        c = self.backbone
        tables = 1 if c.tie_word_embeddings else 2
        embedding = tables * c.vocab_size * c.hidden_size * min(max(bits, HEAD_BITS), 16) / 8
        return self.body * bits / 8 + embedding


def read_data() -> dict[str, Any]:
    """Chips with bandwidths and their sources, and the official model's geometry."""
    data: dict[str, Any] = json.loads((Path(__file__).parent / "plan.json").read_text())
    return data


def official(data: dict[str, Any]) -> Geometry:
    values = data["liquid_7b"]
    config = BackboneConfig.from_dict(values["backbone"])
    return Geometry("Liquid 7B", config, values["codes"], values["picture"])


def predict(geometry: Geometry, data: dict[str, Any]) -> dict[str, Any]:
    """Bytes per step for each width, and for each chip the seconds at best and at worst; None where
    the chip's largest memory does not hold the model."""
    least, most = data["efficiency"]["least"], data["efficiency"]["most"]
    steps = {name: geometry.step_bytes(bits) for name, bits in WEIGHTS.items()}
    needed = {name: geometry.least_bytes(bits) for name, bits in WEIGHTS.items()}

    def seconds(speed: float, memory: float) -> dict[str, list[float] | None]:
        room = memory * 2**30 * data["working_set"]["share"]
        whole = {name: geometry.picture * size / (speed * 1e9) for name, size in steps.items()}
        return {
            name: [round(s / most, 1), round(s / least, 1)] if needed[name] <= room else None
            for name, s in whole.items()
        }

    return {
        "model": geometry.name,
        "prediction": True,
        "efficiency": [least, most],
        "step_gb": {name: round(size / 1e9, 3) for name, size in steps.items()},
        "weights_gb": {
            name: round(geometry.weight_bytes(bits) / 1e9, 2) for name, bits in WEIGHTS.items()
        },
        "chips": [
            {
                "chip": c["chip"],
                "gb_per_s": c["gb_per_s"],
                "most_gb": c["most_gb"],
                "seconds": seconds(c["gb_per_s"], c["most_gb"]),
            }
            for c in data["chips"]
        ],
    }


def print_plan(plan: dict[str, Any]) -> None:
    """Print the prediction as a table."""
    widths = list(plan["step_gb"])
    least, most = (round(100 * share) for share in plan["efficiency"])
    rows = []
    for chip in plan["chips"]:
        ranges = ("-".join(_seconds(s) for s in chip["seconds"][name] or ()) for name in widths)
        rows.append([chip["chip"], f"{chip['gb_per_s']:g}", f"{chip['most_gb']}", *ranges])
    rows.append(["weights", "", "GB", *(f"{plan['weights_gb'][name]:g}" for name in widths)])
    rows.append(["read per step", "", "GB", *(f"{plan['step_gb'][name]:g}" for name in widths)])
    print(f"Seconds per image of {one_line(plan['model'])} with guidance.")
    print("This is a prediction, not a measurement: bytes read per step, at")
    print(f"{least} to {most} % of the chip's memory bandwidth.\n")
    print_table(["chip", "GB/s", "most GB", *widths], rows, right=range(1, 3 + len(widths)))
    print("\nAn empty cell: not even the largest memory sold with the chip holds the model.")
    print("On M1 and M2, mxfp4 (convert -q --q-mode mxfp4) may be faster than 4 bits: try it.")
    print("This is a prediction: nothing was measured. `liquid bench` measures this machine.")


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
