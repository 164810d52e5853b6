"""The language model behind EleutherAI's lm-evaluation-harness.

    python -m liquid_mlx.evaluation.lm_eval_model run --model liquid \
        --model_args model=liquid-7b-4bit --tasks hellaswag,arc_easy

The harness looks up models by name in its own registry and has no entry points for others', so this
module registers "liquid" and hands the command line on. In Python: ``LiquidLM("demo")`` is what
``lm_eval.simple_evaluate(model=...)`` takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lm_eval.models  # noqa: F401  (the harness names its own only while nobody else has one)
import mlx.core as mx
import numpy as np
from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from liquid_mlx.generation.answer import within_context
from liquid_mlx.memory import limits
from liquid_mlx.model import Liquid, load
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import TextParams

Pair = tuple[tuple[str, str], list[int], list[int]]  # texts, context's ids, continuation's ids
BATCH = 8
MAX_NEW_TOKENS = 256


@register_model("liquid")
class LiquidLM(TemplateLM):  # type: ignore[misc]
    """Log-likelihoods over the whole vocabulary, image tokens included, as the reference's are.

    Args:
        model: as ``liquid_mlx.load`` takes it, or a loaded model.
        dtype: of a model that is not loaded yet.
        batch_size: sequences read together.
        max_length: tokens of a sequence; None is the model's context.
    """

    def __init__(
        self,
        model: str | Liquid = "demo",
        dtype: str | None = None,
        batch_size: int | str = BATCH,
        max_length: int | None = None,
        **_: Any,  # device and others that the harness passes on
    ):
        super().__init__()
        self.liquid = model if isinstance(model, Liquid) else load(model, dtype=dtype)
        self.batch_size = BATCH if batch_size == "auto" else int(batch_size)
        self.max_length = max_length or self.liquid.config.backbone.max_position_embeddings
        self._head = self.liquid.engine.backbone.head()

    @property
    def eot_token_id(self) -> int:
        return int(self.liquid.config.eos_ids[0])

    @property
    def prefix_token_id(self) -> int:
        start = self.liquid.prompts.text_ids("")
        return start[0] if start else self.eot_token_id

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """The ids of a text, behind ``<bos>`` for the tokenizers that add it."""
        return self.liquid.prompts.text_ids(string, start=add_special_tokens is not False)

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """(log-probability, whether it is the greedy continuation) of every request.

        What is longer than the context loses its beginning, as in the harness's own models.
        """
        longest = sorted(range(len(requests)), key=lambda i: -sum(map(len, requests[i][1:])))
        found: dict[int, tuple[float, bool]] = {}
        for start in range(0, len(longest), self.batch_size):
            part = longest[start : start + self.batch_size]
            rows = [requests[i][1:] for i in part]
            found |= zip(part, self._read(rows), strict=True)
        return [found[i] for i in range(len(requests))]

    def _read(self, rows: Sequence[Sequence[list[int]]]) -> Iterator[tuple[float, bool]]:
        """The same of a batch, read in one forward pass; rows are filled up behind their ends."""
        texts = [[*context, *text][-(self.max_length + 1) :] for context, text in rows]
        length = max(map(len, texts)) - 1
        ids = mx.array([(text[:-1] + [0] * length)[:length] for text in texts])
        backbone = self.liquid.engine.backbone
        with limits():
            cache = KVCache.empty(self.liquid.config.backbone, len(rows), length, backbone.dtype)
            hidden = backbone(ids, cache)  # [rows, length, hidden]
            for i, (text, (_, wanted)) in enumerate(zip(texts, rows, strict=True)):
                count = min(len(wanted), len(text) - 1)
                end = len(text) - 1
                logits = self._head(hidden[i, end - count : end]).astype(mx.float32)
                logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
                last = mx.array(text[len(text) - count :])
                total = mx.take_along_axis(logs, last[:, None], axis=-1).sum()
                greedy = (logits.argmax(axis=-1) == last).all()
                yield float(np.array(total)), bool(np.array(greedy))

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Log-probability of whole texts, each token behind as much of its text as fits."""
        found = []
        for request in requests:
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 1,
                context_len=1,
            )
            pairs = [(("", ""), *utils.make_disjoint_window(window)) for window in windows]
            found.append(sum(total for total, _ in self._loglikelihood_tokens(pairs)))
        return found

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Texts written until one of the request's ends; greedy unless it says do_sample."""
        return [self._write(*request.args) for request in requests]

    def _write(self, context: str, settings: dict[str, Any]) -> str:
        until = settings.get("until") or []
        ends = [until] if isinstance(until, str) else list(until)
        sampled = settings.get("do_sample", False)
        params = TextParams(
            max_new_tokens=int(settings.get("max_gen_toks", MAX_NEW_TOKENS)),
            temperature=float(settings.get("temperature", 0.0)) if sampled else 0.0,
        )
        engine = self.liquid.engine
        ids = self.tok_encode(context)
        room = self.max_length - min(params.max_new_tokens, self.max_length // 2)
        ids = ids[-room:]
        complete, text = engine.prompts.decoder(), ""
        for (token,) in engine.write([], [ids], within_context(engine, len(ids), params), [0]):
            if token is None or token in engine.stop:
                break
            text += complete(token)
            if any(end and end in text for end in ends):
                break
        for end in ends:
            text = text.split(end)[0] if end else text
        return text


def main() -> None:
    """The harness's own command line, with "liquid" among its models."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
