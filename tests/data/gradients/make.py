"""Gradients of the golden checkpoints' losses, as PyTorch and transformers compute them.

Run once, with torch and transformers 5.24 (float32, CPU): ``python tests/data/gradients/make.py``.
Written per case: the token ids and targets of a drawing and of a question, their summed
cross-entropies (codes among the codes, text among the words), and of every parameter's gradient
its norm and 16 random projections (`projections`), which two different gradients do not share.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.tuner.projections import projections

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
CASES = {
    "gemma_tiny": {},
    "gemma_untied_mqa": {},
    "gemma2_tiny": {},
    "gemma2_tiny_window": {"sliding_window": 8},
    "llama_tiny": {},
    "qwen2_tiny": {},
}
TEXT, CODES = 512, 512  # the golden cases' text vocabulary and codes


def samples(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Token ids and targets of a drawing and of a question, from the goldens."""
    arrays = np.load(folder / "golden_llm.npz")
    seen = arrays["t2i/cfg1/attention_mask"][0] == 1
    prompt, codes = arrays["t2i/cfg1/input_ids"][0][seen], arrays["t2i/cfg1/tokens"][0]
    question, answer = arrays["i2t/0/input_ids"], arrays["i2t/0/text_tokens"]
    end = np.array([prompt[-1] + 1, 1])  # the end of the picture, and of the sequence
    found = {"drawing": (prompt, np.append(codes, end)), "question": (question, answer)}
    return {
        name: (
            np.concatenate([given, wanted]).astype(np.int32),
            np.arange(len(given) + len(wanted)) >= len(given),
        )
        for name, (given, wanted) in found.items()
    }


def losses(logits: torch.Tensor, ids: torch.Tensor, target: np.ndarray) -> list[torch.Tensor]:
    """Summed cross-entropies of codes and of text, each among its own kind."""
    places = torch.tensor(np.flatnonzero(target))
    logits, wanted = logits[0, places - 1].float(), ids[places]
    is_code = wanted >= TEXT

    def summed(chosen: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(
            logits[chosen, start:stop], wanted[chosen] - start, reduction="sum"
        )

    return [summed(is_code, TEXT, TEXT + CODES), summed(~is_code, 0, TEXT)]


def main() -> None:
    for case, changes in CASES.items():
        folder = GOLDEN / case.removesuffix("_window")
        config = AutoConfig.from_pretrained(folder)
        for name, value in changes.items():
            setattr(config, name, value)
        if config.model_type == "gemma":
            config.hidden_act = config.hidden_activation = "gelu_pytorch_tanh"
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        stored: dict[str, np.ndarray] = {}
        for sample, (ids, target) in samples(folder).items():
            model.zero_grad()
            tokens = torch.tensor(ids, dtype=torch.long)
            parts = losses(model(tokens[None]).logits, tokens, target)
            sum(parts).backward()
            stored[f"{sample}/ids"], stored[f"{sample}/target"] = ids, target
            stored[f"{sample}/loss"] = np.array([part.item() for part in parts])
            for name, parameter in model.named_parameters():
                gradient = parameter.grad.numpy()
                stored[f"{sample}/gradient/{name}"] = projections(name, gradient)
        np.savez_compressed(HERE / f"{case}.npz", **stored)
        print(case, {k: v for k, v in stored.items() if k.endswith("loss")})


if __name__ == "__main__":
    main()
