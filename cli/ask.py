"""``liquid ask``: questions about pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from liquid_mlx.cli import options

if TYPE_CHECKING:
    from liquid_mlx.cli.sources import Source
    from liquid_mlx.cli.terminal import Status
    from liquid_mlx.model import Liquid

T = TypeVar("T")


def ask(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PICTURE... QUESTION",
            help="Files, folders, globs, http(s) addresses, - (stdin); then the question.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", metavar="QUESTION", help="A question; may be repeated."),
    ] = None,
    choices: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Answer with the likeliest, and its probability."),
    ] = None,
    score: Annotated[
        str | None, typer.Option(metavar="ANSWER", help="Log-probability of this answer instead.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions as JSONL in LLaVA's form.")
    ] = None,
    image_folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures of --questions are.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL to append to; its questions are not asked again."),
    ] = None,
    as_json: options.Json = False,
    as_jsonl: options.Jsonl = False,
    model: options.Model = "demo",
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    seed: options.Seed = None,
    no_exif: options.NoExif = False,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask questions about pictures."""
    from liquid_mlx.cli.results import form

    given, texts = list(pictures or []), list(prompt or [])
    shape = form(as_json, as_jsonl)
    listed = choices.split(",") if choices is not None else None
    if listed is not None:
        listed = [choice.strip() for choice in listed]
        if score is not None or len(listed) < 2 or not all(listed):
            raise typer.BadParameter("--choices takes two or more answers, and excludes --score.")
    bulk = questions is not None or answers is not None or image_folder is not None
    if bulk and (questions is None or answers is None or given or texts or score is not None):
        raise typer.BadParameter(
            "--questions and --answers go together, with no other picture or question."
        )
    if not bulk and not texts:
        texts = [given.pop()] if len(given) > 1 else []
    if not bulk and not (given and texts):
        raise typer.BadParameter("name a picture and a question.")

    from liquid_mlx import load
    from liquid_mlx.cli import vqa
    from liquid_mlx.cli.sources import expand
    from liquid_mlx.cli.terminal import Status

    sampling: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    with Status(quiet) as status:
        tasks = vqa.read_questions(questions) if questions else []
        sources = expand(given)
        done = vqa.Answers(answers, tasks) if answers else None
        status.start(f"loading {model}")
        liquid = load(model, dtype=dtype)
        if verbose:
            status.say(f"{model} loaded in {status.seconds:.2f} s")
        asker = Asker(liquid, sampling, exif=not no_exif, choices=listed, answer=score)
        if done is not None:
            failed = done.fill(asker, image_folder, status)
        elif len(sources) == len(texts) == 1 and shape == "text" and not listed and score is None:
            _stream(asker, sources[0], texts[0], status, verbose)
            failed = 0
        else:
            failed = _many(asker, sources, texts, shape, status)
        if verbose:
            status.say(options.memory())
    if failed:
        raise typer.Exit(3)


class Asker:
    """One way of asking: sampled, chosen or scored.

    Question i of a run is sampled with ``seed + i``, so that a run taken up again answers alike.
    """

    def __init__(
        self,
        liquid: Liquid,
        sampling: dict[str, Any],
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

    def settings(self, index: int) -> dict[str, Any]:
        seed = self.sampling["seed"]
        return {**self.sampling, "seed": None if seed is None else (seed + index) % 2**32}

    def ask(self, picture: Path | bytes, question: str, index: int = 0) -> dict[str, Any]:
        """The answer to question ``index`` of a run, with what belongs to this way of asking."""
        if self.choices is not None:
            shares = self.liquid.choose(picture, question, self.choices, exif=self.exif)
            best = next(iter(shares))
            return {"answer": best, "probability": shares[best], "choices": shares}
        if self.answer is not None:
            value = self.liquid.score(picture, question, self.answer, exif=self.exif)
            return {"answer": self.answer, "log_probability": value}
        text = self.liquid.answer(picture, question, exif=self.exif, **self.settings(index))
        return {"answer": text.strip()}

    def ask_all(
        self, picture: Path | bytes, questions: Sequence[tuple[int, str]]
    ) -> list[dict[str, Any]]:
        """As ``ask`` for (index, question) pairs, together if answers are written.

        A question that is empty or too long has ``{"error": PromptError}``.
        """
        from liquid_mlx.errors import PromptError

        if self.choices is None and self.answer is None and len(questions) > 1:
            seeds = [self.settings(index)["seed"] for index, _ in questions]
            settings = {**self.sampling, "seed": None if None in seeds else seeds}
            try:
                texts = self.liquid.answers(
                    picture, [text for _, text in questions], exif=self.exif, **settings
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


def _stream(asker: Asker, source: Source, question: str, status: Status, verbose: bool) -> None:
    from liquid_mlx.cli.terminal import clean, duration

    status.start("reading the picture")
    picture, first, count = source.read(), 0.0, 0
    for step in asker.liquid.stream_answer(picture, question, exif=asker.exif, **asker.settings(0)):
        status.clear()
        print(clean(step.text), end="", flush=True)
        first, count = first or status.seconds, step.position
    print()
    if verbose:
        speed = (count - 1) / max(status.seconds - first, 1e-9)
        rest = f", {count - 1} more at {speed:.1f} tokens/s" if count > 1 else ""
        status.say(f"first token after {duration(first)}{rest}")


def _many(
    asker: Asker, sources: Sequence[Source], questions: Sequence[str], shape: str, status: Status
) -> int:
    """Ask every question about every picture; the number of failures."""
    from liquid_mlx.cli.results import Results
    from liquid_mlx.cli.terminal import about

    single = len(sources) == len(questions) == 1
    columns = ["picture", *(["question"] if len(questions) > 1 else []), *asker.columns]
    longest = {
        "picture": max(len(source.name) for source in sources),
        "question": max(map(len, questions)),
        "answer": max(map(len, asker.choices or [asker.answer or ""])),
    }
    widths = [longest[name] for name in columns[:-1]]
    status.start()
    results = Results(asker.columns if single else columns, widths, shape, single)
    status.show("asking")
    total, failed = len(sources) * len(questions), 0
    for i, source in enumerate(sources):
        tasks = list(enumerate(questions, i * len(questions)))
        for row in _rows(asker, source, tasks, total, status):
            status.clear()
            if "error" in row:
                if total == 1:
                    raise row["error"]
                failed += 1
                status.warn(about(source.name, row["error"]))
                row["error"] = str(row["error"])
            results.add(row)
    status.clear()
    results.end()
    return failed


def _rows(
    asker: Asker, source: Source, tasks: Sequence[tuple[int, str]], total: int, status: Status
) -> Iterator[dict[str, Any]]:
    """What is to be shown about a picture; an ``error`` is one of its questions, or its own."""
    from liquid_mlx.errors import ImageError

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
