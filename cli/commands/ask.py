"""``liquid ask``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liquid_mlx.display import well_formed
from liquid_mlx.errors import UsageError

from .. import options, together, vqa
from ..asker import Asker, rows
from ..inputs import Source, expand
from ..printer import Results
from ..startup import hints
from ..terminal import Status, about, clean, duration

if TYPE_CHECKING:
    from liquid_mlx.distributed.ranks import Team


def ask(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE... QUESTION",
            help="Files, folders, globs, URLs or - (stdin), then the question.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", metavar="QUESTION", help="A question; can be repeated."),
    ] = None,
    choices: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Pick the likeliest, with its probability."),
    ] = None,
    score: Annotated[
        str | None, typer.Option(metavar="ANSWER", help="Print the log-probability of this answer.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions as JSONL in LLaVA's format.")
    ] = None,
    image_folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The images of --questions.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL to append to; answered questions are skipped."),
    ] = None,
    as_json: options.Json = False,
    as_jsonl: options.Jsonl = False,
    model: options.Model = "demo",
    adapter: options.Adapter = None,
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    seed: options.Seed = None,
    no_exif: options.NoExif = False,
    tensor_parallel: options.TensorParallel = False,
    pipeline_parallel: options.PipelineParallel = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask questions about images."""
    given, texts = list(pictures or []), list(prompt or [])
    output = options.output_format(as_json, as_jsonl)
    listed = _choices(choices, score)
    bulk = questions is not None or answers is not None or image_folder is not None
    if bulk and (questions is None or answers is None or given or texts or score is not None):
        raise UsageError(
            "--questions needs --answers, and cannot be combined with other images or questions, "
            "nor with --score."
        )
    if not bulk and not texts:
        if given and (slip := hints.question_first(given)):
            raise UsageError(slip)
        texts = [given.pop()] if len(given) > 1 else []
    texts = [well_formed(text) for text in texts]
    if not bulk and not (given and texts):
        raise UsageError('Give an image and a question: liquid ask photo.jpg "What is this?".')
    sampling = options.Sampling(
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    with Status(quiet) as status:
        team = together.start(status, tensor_parallel, pipeline_parallel)
        with team.together():
            tasks = vqa.read_questions(questions) if questions else []
            sources = expand(given)
        together.same(team, "images", [source.name for source in sources])
        together.same(team, "questions", [str(task) for task in tasks])
        done = vqa.Answers(answers, tasks, team) if answers else None
        liquid = options.load_model(
            model,
            status,
            dtype=dtype,
            verbose=verbose,
            team=team,
            adapter=adapter,
            pipeline_parallel=pipeline_parallel,
        )
        asker = Asker(liquid, sampling, exif=not no_exif, choices=listed, answer=score)
        failed = 0
        if done is not None:
            failed = done.fill(asker, image_folder, status)
        elif (
            len(sources) == len(texts) == 1
            and not team.shares_work
            and output == "text"
            and not listed
            and score is None
        ):
            _stream(asker, sources[0], texts[0], status, verbose)
        else:
            failed = _many(asker, sources, texts, output, status, team)
        if verbose:
            status.say(options.memory())
    if failed:
        raise typer.Exit(3)


def _choices(text: str | None, score: str | None) -> list[str] | None:
    if text is None:
        return None
    if score is not None:
        raise UsageError("--choices and --score cannot be combined.")
    choices = [choice.strip() for choice in well_formed(text).split(",")]
    if len(choices) < 2 or not all(choices):
        raise UsageError("--choices needs two or more answers, separated by commas.")
    return choices


def _stream(asker: Asker, source: Source, question: str, status: Status, verbose: bool) -> None:
    status.start("reading the image")
    picture, first, count = source.read(), 0.0, 0
    for step in asker.liquid.stream_answer(picture, question, exif=asker.exif, **asker.sampling):
        status.clear()
        print(clean(step.text), end="", flush=True)
        first, count = first or status.seconds, step.position
    print()
    if verbose:
        speed = (count - 1) / max(status.seconds - first, 1e-9)
        rest = f", {count - 1} more at {speed:.1f} tokens/s" if count > 1 else ""
        status.say(f"first token after {duration(first)}{rest}")


def _many(
    asker: Asker,
    sources: Sequence[Source],
    questions: Sequence[str],
    output: str,
    status: Status,
    team: Team,
) -> int:
    """Ask every question about every picture; the number of failures."""
    single = len(sources) == len(questions) == 1
    columns = ["picture", *(["question"] if len(questions) > 1 else []), *asker.columns]
    longest = {
        "picture": max(len(source.name) for source in sources),
        "question": max(map(len, questions)),
        "answer": max(map(len, asker.choices or [asker.answer or ""])),
    }
    widths = [longest[name] for name in columns[:-1]]
    status.start()
    results = Results(asker.columns if single else columns, widths, output, single)
    status.show("asking")
    total, failed = len(sources) * len(questions), 0

    def work(shares: Sequence[tuple[int, Source]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, source in shares:
            tasks = list(enumerate(questions, i * len(questions)))
            for row in rows(asker, source, tasks, total, status):
                status.clear()
                if "error" in row:
                    if total == 1:
                        raise row["error"]
                    status.warn(about(source.name, row["error"]))
                    row["error"] = str(row["error"])
                yield i, row

    for row in team.each(sources, work):
        failed += "error" in row
        results.add(row)
    status.clear()
    if team.first or team.one_model:
        results.end()
    return failed
