"""The model behind LMMs-Lab's lmms-eval, for its tasks about pictures.

    lmms-eval --model liquid --model_args model=liquid-7b-4bit --tasks pope,gqa

The harness finds "liquid" by the entry point in this package's metadata. Questions reach the model
as `Liquid.answer` asks them, in its chat template behind the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmms_eval.api.model import lmms
from tqdm import tqdm

from liquid_mlx.errors import PromptError
from liquid_mlx.model import Liquid, load

MAX_NEW_TOKENS = 256


class LiquidLMM(lmms):  # type: ignore[misc]
    """Answers about one picture, or about none.

    Args:
        model: as ``liquid_mlx.load`` takes it, or a loaded model.
        dtype: of a model that is not loaded yet.
    """

    def __init__(
        self,
        model: str | Liquid = "demo",
        dtype: str | None = None,
        **_: Any,  # batch size, device and others that the harness passes on
    ):
        super().__init__()
        self.liquid = model if isinstance(model, Liquid) else load(model, dtype=dtype)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answers, cut at the first of the request's ends; greedy unless it says do_sample."""
        return [self._write(*request.args) for request in tqdm(requests, desc="Answering")]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(log-probability of the answer and its end, whether it is the greedy answer)."""
        return [self._score(*request.args) for request in tqdm(requests, desc="Scoring")]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not there: these tasks go on with a picture of their own in every round."""
        raise NotImplementedError("Tasks of several rounds are not supported by liquid.")

    def _picture(self, pictures_of: Any, row: int, task: str, split: str) -> Any:
        """The document's picture, or None."""
        pictures = pictures_of(self.task_dict[task][split][row]) if pictures_of else None
        pictures = [pictures] if pictures and not isinstance(pictures, list | tuple) else pictures
        if pictures and len(pictures) > 1:
            raise PromptError(f"{task} shows {len(pictures)} pictures at once: ask about one.")
        return pictures[0] if pictures else None

    def _write(self, question: str, settings: dict[str, Any], pictures_of: Any, *place: Any) -> str:
        sampled = settings.get("do_sample", False)
        heat = float(settings.get("temperature") or 0.0) if sampled else 0.0
        most = int(settings.get("max_new_tokens", MAX_NEW_TOKENS))
        picture = self._picture(pictures_of, *place)
        if picture is None:
            talk = [{"role": "user", "content": question}]
            text = self.liquid.chat(talk, max_tokens=most, temperature=heat)
        else:
            text = self.liquid.answer(
                picture, question, exif=False, max_tokens=most, temperature=heat
            )
        until = settings.get("until") or []
        for end in [until] if isinstance(until, str) else until:
            text = text.split(end)[0] if end else text
        return text.strip()

    def _score(
        self, question: str, target: Any, pictures_of: Any, *place: Any
    ) -> tuple[float, bool]:
        row, task, split = place
        said = target if isinstance(target, str) else target(self.task_dict[task][split][row])
        picture = self._picture(pictures_of, *place)
        if picture is None:
            raise PromptError(f"{task} scores an answer without a picture: use lm-eval for texts.")
        score = self.liquid.score(picture, question, said.strip(), exif=False)
        room = len(self.liquid.prompts.text_ids(said, start=False)) + 8
        greedy = self.liquid.answer(picture, question, exif=False, max_tokens=room)
        return score, greedy.strip() == said.strip()
