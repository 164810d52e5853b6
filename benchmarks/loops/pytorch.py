"""What the PyTorch reference does, on transformers 5: full head, cache, full-vocabulary sampling.

Rows are the conditional prompts, then the unconditional ones, left padded; a drawn id goes to both.
Masks, positions and the cache are handed over explicitly, as transformers 5 wants them.
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from benchmarks.loops.geometry import Model


class Loop:
    def __init__(self, model: Model, device: str = "cpu", dtype: torch.dtype = torch.float32):
        torch.manual_seed(0)
        if model.folder is None:
            values = {k: v for k, v in model.config.items() if k != "architectures"}
            config = AutoConfig.for_model(**values)
            torch.set_default_dtype(dtype)
            with torch.device(device):
                self.model = AutoModelForCausalLM.from_config(config)
            torch.set_default_dtype(torch.float32)
        else:
            self.model = AutoModelForCausalLM.from_pretrained(model.folder, dtype=dtype).to(device)
        self.model.eval()
        self.device, self.offset, self.codes = device, model.image_offset, model.codes

    @torch.inference_mode()
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
        """Codes [pictures, total]; the first seed is everybody's, as torch.multinomial has it."""
        torch.manual_seed(seeds[0])
        rows = [prompt] * len(seeds) + [unconditional] * len(seeds)
        length = max(map(len, rows))
        ids = torch.tensor([[0] * (length - len(row)) + row for row in rows], device=self.device)
        mask = torch.tensor(
            [[0] * (length - len(row)) + [1] * len(row) for row in rows], device=self.device
        )
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        drawn = []
        for _ in range(total):
            logits = (
                self.model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                )
                .logits[:, -1]
                .float()
            )
            conditional, free = logits.chunk(2)
            guided = free + (conditional - free) * guidance
            token = self._sample(guided, temperature, top_k, top_p)
            drawn.append(token)
            ids = torch.cat([token, token])[:, None]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=-1)
            positions = positions[:, -1:] + 1
        codes = torch.stack(drawn, dim=1) - self.offset
        return codes.clamp(0, self.codes - 1).cpu().numpy()

    def _sample(
        self, logits: torch.Tensor, temperature: float, top_k: int, top_p: float
    ) -> torch.Tensor:
        logits[:, : self.offset] = -torch.inf
        logits[:, self.offset + self.codes :] = -torch.inf
        if temperature == 0:
            return logits.argmax(-1)
        logits = logits / max(temperature, 1e-5)
        if top_k > 0:
            least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if top_p < 1:
            ranked, order = logits.sort(descending=True)
            before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
            dropped = torch.zeros_like(logits, dtype=torch.bool)
            logits = logits.masked_fill(dropped.scatter(1, order, before > top_p), -torch.inf)
        return torch.multinomial(logits.softmax(-1), 1)[:, 0]
