"""A plain mlx-lm loop: its model, its cache, its ``make_sampler``, pipelined as its generator is.

mlx-lm's plain cache knows no left padding, so both rows get prompts of one length here: the time is
that of the right thing, the codes are right only if the prompts were of one length anyway.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.sample_utils import make_sampler
from mlx_lm.utils import _get_classes

from benchmarks.loops.geometry import Model


class Loop:
    def __init__(self, model: Model):
        model_class, arguments = _get_classes(model.config)
        self.model = model_class(arguments.from_dict(model.config))
        if model.folder is None:
            mx.random.seed(0)
            random = tree_map(lambda a: mx.random.normal(a.shape) * 0.02, self.model.parameters())
            self.model.update(random)
        else:
            files = sorted(model.folder.glob("model*.safetensors"))
            weights = {k: v for file in files for k, v in mx.load(str(file)).items()}
            weights = {k: v.astype(mx.float32) for k, v in weights.items()}
            self.model.load_weights(list(weights.items()), strict=False)
        mx.eval(self.model.parameters())
        ids = mx.arange(model.config["vocab_size"])
        self.is_code = (ids >= model.image_offset) & (ids < model.image_offset + model.codes)
        self.offset = model.image_offset

    def step(self, ids: mx.array, cache: list, guidance: float, sampler) -> mx.array:
        """The next ids [pictures] behind ids [2 pictures, T]."""
        logits = self.model(ids, cache=cache)[:, -1].astype(mx.float32)
        conditional, free = mx.split(logits, 2)
        guided = mx.where(self.is_code, free + (conditional - free) * guidance, -mx.inf)
        return sampler(guided - mx.logsumexp(guided, axis=-1, keepdims=True))

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
        """Codes [pictures, total]; the first seed is everybody's."""
        mx.random.seed(seeds[0])
        length = max(len(prompt), len(unconditional))
        rows = [[0] * (length - len(row)) + row for row in (prompt, unconditional)]
        ids = mx.array([row for row in rows for _ in seeds])
        top_k = top_k if top_k < len(self.is_code) else 0  # it refuses more than there are
        sampler = make_sampler(temp=temperature, top_p=top_p, top_k=top_k)
        cache = make_prompt_cache(self.model)
        token = self.step(ids, cache, guidance, sampler)
        mx.async_eval(token)
        drawn = []
        for step in range(total):
            if step + 1 < total:
                following = self.step(mx.tile(token, 2)[:, None], cache, guidance, sampler)
                mx.async_eval(following)
            drawn.append(np.array(token))
            token = following
        return np.stack(drawn, axis=1) - self.offset
