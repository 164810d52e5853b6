"""``liquid ask``: questions about pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import options
from ..asker import Asker, rows

if TYPE_CHECKING:
    from ..inputs import Source
    from ..terminal import Status


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
    from ..printer import form

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

    from .. import vqa
    from ..inputs import expand
    from ..terminal import Status

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


def _stream(asker: Asker, source: Source, question: str, status: Status, verbose: bool) -> None:
    from ..terminal import clean, duration

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
    from ..printer import Results
    from ..terminal import about

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
        for row in rows(asker, source, tasks, total, status):
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
