"""One way of asking about pictures: sampled, the likeliest of choices, or scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from liquid_mlx.errors import ImageError, PromptError
from liquid_mlx.params import SEEDS

from .inputs import Source
from .options import Sampling, seeded
from .terminal import Status

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid

T = TypeVar("T")


class Asker:
    """One way of asking: sampled, chosen or scored.

    Question i of a run is sampled with ``seed + i``, so that a run taken up again answers alike.
    """

    def __init__(
        self,
        liquid: Liquid,
        sampling: Sampling,
        *,
        exif: bool = True,
        choices: list[str] | None = None,
        answer: str | None = None,
    ):
        self.liquid = liquid
        self.sampling = sampling
        self.exif = exif
        self.choices = choices
        self.answer = answer

    def ask(self, picture: Path | bytes, question: str, index: int = 0) -> dict[str, Any]:
        """The answer to question ``index`` of a run, with what belongs to this way of asking."""
        if self.choices is not None:
            shares = self.liquid.choose(picture, question, self.choices, exif=self.exif)
            best = next(iter(shares))
            return {"answer": best, "probability": shares[best], "choices": shares}
        if self.answer is not None:
            value = self.liquid.score(picture, question, self.answer, exif=self.exif)
            return {"answer": self.answer, "log_probability": value}
        text = self.liquid.answer(picture, question, exif=self.exif, **seeded(self.sampling, index))
        return {"answer": text.strip()}

    def ask_all(
        self, picture: Path | bytes, questions: Sequence[tuple[int, str]]
    ) -> list[dict[str, Any]]:
        """As ``ask`` for (index, question) pairs, together if answers are written.

        A question that is empty or too long has ``{"error": PromptError}``.
        """
        if self.choices is None and self.answer is None and len(questions) > 1:
            seed = self.sampling["seed"]
            try:
                texts = self.liquid.answers(
                    picture,
                    [text for _, text in questions],
                    exif=self.exif,
                    max_tokens=self.sampling["max_tokens"],
                    temperature=self.sampling["temperature"],
                    top_k=self.sampling["top_k"],
                    top_p=self.sampling["top_p"],
                    seed=None if seed is None else [(seed + i) % SEEDS for i, _ in questions],
                )
                return [{"answer": text.strip()} for text in texts]
            except PromptError:
                pass  # one of the questions: asked one by one, it fails alone
        answers: list[dict[str, Any]] = []
        for index, text in questions:
            try:
                answers.append(self.ask(picture, text, index))
            except PromptError as error:
                answers.append({"error": error})
        return answers

    @property
    def columns(self) -> list[str]:
        """What a table shows of an answer."""
        if self.choices is not None:
            return ["answer", "probability"]
        return ["answer", "log_probability"] if self.answer is not None else ["answer"]


def rows(
    asker: Asker, source: Source, tasks: Sequence[tuple[int, str]], total: int, status: Status
) -> Iterator[dict[str, Any]]:
    """What is to be shown about a picture; an ``error`` is one of its questions, or its own."""
    try:
        picture = source.read()
        for batch in batches(tasks):
            answers = asker.ask_all(picture, batch)
            for (_, question), answer in zip(batch, answers, strict=True):
                yield {"picture": source.name, "question": question, **answer}
            status.progress(source.name, batch[-1][0] + 1, total, "answers")
    except ImageError as error:
        yield {"picture": source.name, "error": error}


def batches(questions: Sequence[T]) -> Iterator[Sequence[T]]:
    """The questions about a picture, as many at a time as can be answered together."""
    from liquid_mlx.generation.text import BATCH

    for start in range(0, len(questions), BATCH):
        yield questions[start : start + BATCH]
