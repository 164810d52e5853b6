"""The loop of this project."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from benchmarks.loops.geometry import Model
from liquid_mlx.config import BackboneConfig
from liquid_mlx.generation.image import Draw, draw_codes
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.params import ImageParams


class Loop:
    def __init__(self, model: Model):
        config = BackboneConfig.from_dict(model.config)
        self.backbone = Backbone(config)
        if model.folder is None:
            mx.random.seed(0)
            random = tree_map(
                lambda a: mx.random.normal(a.shape) * 0.02, self.backbone.parameters()
            )
            self.backbone.update(random)
        else:
            files = sorted(model.folder.glob("model*.safetensors"))
            weights = {k: v for file in files for k, v in mx.load(str(file)).items()}
            weights = {k: v.astype(mx.float32) for k, v in weights.items()}
            self.backbone.load_weights(list(weights.items()))
        self.backbone.fuse()
        self.offset = model.image_offset
        self.head = self.backbone.head(self.offset, self.offset + model.codes, exact=True)

    def draw(
        self,
        prompt: list[int],
        unconditional: list[int],
        total: int,
        seeds: list[int],
        guidance: float = 7.0,
        temperature: float = 0.99,
        top_k: int = 4096,
        top_p: float = 0.96,
    ) -> np.ndarray:
        """Codes [pictures, total]."""
        draw = Draw(
            seeds, ImageParams(guidance=guidance, temperature=temperature, top_k=top_k, top_p=top_p)
        )
        prefixes = [prefill(self.backbone, ids) for ids in (prompt, unconditional)]
        *_, last = draw_codes(self.backbone, self.head, self.offset, prefixes, draw, total)
        return last.codes
