"""``liquid evaluate``: a command for every benchmark, for drawing prompt sets, and for reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liquid_mlx.errors import FileError, UsageError
from liquid_mlx.files import user_path

from .. import evaluating, options, together
from ..startup.command import Command
from ..terminal import Status

if TYPE_CHECKING:
    from liquid_mlx.distributed.ranks import Team
    from liquid_mlx.evaluation.prompt_sets import Task

HELP = {
    "vqav2": "VQAv2: soft accuracy against ten people's answers.",
    "textvqa": "TextVQA: soft accuracy against ten people's answers.",
    "gqa": "GQA: exact match over the balanced questions.",
    "pope": "POPE: accuracy, precision, recall, F1 and share of yes, by split.",
    "mme": "MME: accuracy and accuracy+, summed over perception and cognition.",
    "mmbench": "MMBench: the likeliest of the options.",
    "custom": "Questions of your own, with exact answers or choices.",
}
ANNOTATIONS = {
    "vqav2": "v2_mscoco_val2014_annotations.json",
    "textvqa": "TextVQA_0.5.1_val.json",
    "gqa": "testdev_balanced_questions.json",
    "pope": "The folder of coco_pope_SPLIT.json.",
    "mme": "The folder MME_Benchmark_release_version.",
    "mmbench": "mmbench_dev_20230712.tsv, which has the questions, too.",
    "custom": "JSONL of question_id, answer (one or a list), and category if you like.",
}
MAX_TOKENS = 128  # of the reference's loader

evaluate = typer.Typer(
    help="Measure a model: benchmarks, prompt sets, distances of pictures, and reports.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Report = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Also write .json, .md or .html; can be repeated."),
]


def _add(task: str) -> None:
    """Add the command of one benchmark of answers."""

    def command(
        answers: Annotated[
            Path, typer.Option(metavar="FILE", help="JSONL of answers, which a run appends to.")
        ],
        annotations: Path | None = None,
        questions: Annotated[
            Path | None, typer.Option(metavar="FILE", help="JSONL of questions in LLaVA's form.")
        ] = None,
        images: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Their images: what has no answer yet is asked."),
        ] = None,
        model: options.Model = "demo",
        adapter: options.Adapter = None,
        max_tokens: options.MaxTokens = MAX_TOKENS,
        dtype: options.Dtype = None,
        seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the intervals.")] = 0,
        report: Report = None,
        as_json: Annotated[bool, typer.Option("--json", help="All digits, as JSON.")] = False,
        quiet: options.Quiet = False,
    ) -> None:
        from liquid_mlx.evaluation.report import peak_memory, scored_report
        from liquid_mlx.evaluation.scorers import score

        evaluating.check_reports(report or [])
        asked = annotations if task == "mmbench" else questions
        if images is not None and asked is None:
            raise UsageError("--images needs the questions that are about them.")
        with Status(quiet) as status:
            run = {}
            if images is not None and asked is not None:
                run = evaluating.ask(
                    task, asked, images, answers, model, adapter, max_tokens, dtype, status
                )
            scored = score(task, answers, annotations, questions)
            files = {"answers": answers, "annotations": annotations, "questions": questions}
            found = scored_report(
                scored,
                seed,
                **run,
                peak_memory=peak_memory() if run else None,
                files={name: str(path) for name, path in files.items() if path},
            )
            if questions is not None:
                evaluating.name_images(found, questions)
            evaluating.write_reports([found], report or [], status, images)
        evaluating.show([found], as_json)

    command.__doc__ = HELP[task]
    option = typer.Option(metavar="PATH", help=ANNOTATIONS[task])
    command.__annotations__["annotations"] = Annotated[Path | None, option]
    evaluate.command(task, cls=Command)(command)


for _task in HELP:
    _add(_task)


Set = Annotated[
    str,
    typer.Argument(metavar="SET", help="genai, mjhq, geneval, dpg or custom.", show_default=False),
]
Prompts = Annotated[
    Path,
    typer.Option(
        metavar="PATH",
        help="prompts.txt, meta_data.json, evaluation_metadata.jsonl, DPG's folder, or one a line.",
    ),
]
Pictures = Annotated[Path, typer.Option(metavar="DIR", help="The folder of the pictures.")]
Each = Annotated[int | None, typer.Option(metavar="N", min=1, help="Pictures of each prompt.")]


@evaluate.command(cls=Command)
def draw(
    name: Set,
    prompts: Prompts,
    pictures: Pictures,
    each: Each = None,
    model: options.Model = "demo",
    adapter: options.Adapter = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the first picture.")] = 0,
    guidance: Annotated[float | None, typer.Option(metavar="G", help="1 is off.")] = None,
    temperature: Annotated[float | None, typer.Option(metavar="T", help="0 is greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(metavar="K", help="0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(metavar="P", help="1 is off.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Pictures at once.")
    ] = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
) -> None:
    """Draw a set of prompts, named as its scorer wants it; what exists is not drawn again."""
    from liquid_mlx.evaluation import drawing, prompt_sets

    output = user_path(pictures)
    settings = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    with Status(quiet) as status:
        team = together.start(status)
        tasks = _tasks(name, prompts, each, team)
        liquid = options.load_model(model, status, dtype=dtype, adapter=adapter, team=team)
        begun = {
            "set": name,
            "each": tasks[0].count,
            "seed": seed,
            "model": model,
            "adapter": adapter,
        }
        with team.together():
            prompt_sets.keep_settings(output, begun | settings | evaluating.described(liquid))
        there = team.anywhere([drawing.is_drawn(task, output) for task in tasks])
        todo = [task for task, drawn in zip(tasks, there, strict=True) if not drawn]
        status.start("drawing")

        def work(share: Sequence[tuple[int, Task]]) -> Iterator[tuple[int, str]]:
            failed = drawing.draw_set(
                liquid,
                [task for _, task in share],
                output,
                seed=seed,
                batch_size=batch_size,
                progress=lambda done, total: status.progress(str(output), done, total, "images"),
                **settings,
            )
            for task, error in failed:
                yield task.index, f"prompt {task.index + 1}: {error}"

        failed = list(team.each(todo, work))
        for text in failed:
            status.warn(text)
        status.say(f"{output}  {len(tasks) - len(failed)} of {len(tasks)} prompts drawn")
    if failed:
        raise typer.Exit(3)


@evaluate.command(cls=Command)
def judge(
    name: Set,
    prompts: Prompts,
    pictures: Pictures,
    each: Each = None,
    model: options.Model = "demo",
    adapter: options.Adapter = None,
    dtype: options.Dtype = None,
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="All digits, as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Let a model judge pictures that were drawn: P(yes), best of a prompt, likelihood."""
    from liquid_mlx.evaluation import drawing
    from liquid_mlx.evaluation.report import JUDGED, peak_memory, scored_report

    evaluating.check_reports(report or [])
    with Status(quiet) as status:
        team = together.start(status)
        tasks = _tasks(name, prompts, each, team)
        liquid = options.load_model(model, status, dtype=dtype, adapter=adapter, team=team)
        status.start("judging")

        def work(share: Sequence[tuple[int, Task]]) -> Iterator[tuple[int, list[float]]]:
            return drawing.judge(
                liquid,
                share,
                user_path(pictures),
                lambda done, total: status.progress("judging", done, total, "prompts"),
            )

        rows = list(team.each(tasks, work))
        if not team.first:  # rank 0 has all of them, and reports
            raise typer.Exit
        scored = drawing.judged(tasks, rows)
        found = scored_report(
            scored,
            label=JUDGED,
            model=model,
            settings={"set": name, "adapter": adapter, **evaluating.described(liquid)},
            seconds=status.seconds,
            peak_memory=peak_memory(),
        )
        evaluating.write_reports([found], report or [], status, pictures)
    evaluating.show([found], as_json)


def _tasks(name: str, prompts: Path, each: int | None, team: Team | None = None) -> list[Task]:
    """The tasks of a set: of several processes all have the same, or none goes on."""
    from liquid_mlx.distributed.ranks import Team
    from liquid_mlx.evaluation.prompt_sets import FIXED, SETS, read_set

    if name not in SETS:
        raise UsageError(f"There is no set {name}: use {', '.join(SETS)}.")
    if each and name in FIXED:
        raise UsageError(f"--each cannot be combined with {name}, which has one picture a prompt.")
    team = team or Team()
    with team.together():
        tasks = read_set(name, prompts, each)
    together.same(team, "prompts", [task.prompt for task in tasks])
    return tasks


@evaluate.command(cls=Command)
def fid(
    pictures: Annotated[
        Path, typer.Argument(metavar="DIR", help="Pictures that were drawn.", show_default=False)
    ],
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|NPZ", help="Real pictures, or their mu and sigma.", show_default=False
        ),
    ],
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures at once.")] = 32,
    device: Annotated[str, typer.Option(metavar="NAME", help="PyTorch's: cpu, mps, cuda.")] = "cpu",
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="All digits, as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Frechet inception distance of two folders, by clean-fid."""
    from liquid_mlx.evaluation import packages
    from liquid_mlx.evaluation import report as reports

    evaluating.check_reports(report or [])
    with Status(quiet) as status:
        status.start("comparing pictures")
        value = packages.fid(
            user_path(pictures), user_path(reference), device=device, batch_size=batch_size
        )
        settings = {"pictures": str(pictures), "reference": str(reference)}
        found = reports.report("fid", scores={"all": {"fid": value}}, intervals={}, **settings)
        evaluating.write_reports([found], report or [], status)
    evaluating.show([found], as_json)


@evaluate.command(cls=Command)
def clip(
    name: Set,
    prompts: Prompts,
    pictures: Pictures,
    each: Each = None,
    clip_model: Annotated[str, typer.Option(metavar="NAME", help="open_clip's.")] = "ViT-L-14",
    weights: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Pretrained weights.")
    ] = "openai",
    device: Annotated[str, typer.Option(metavar="NAME", help="PyTorch's: cpu, mps, cuda.")] = "cpu",
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="All digits, as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """CLIP score of pictures that were drawn, by open_clip."""
    from liquid_mlx.evaluation import packages
    from liquid_mlx.evaluation.figures import Scored, mean
    from liquid_mlx.evaluation.report import scored_report

    evaluating.check_reports(report or [])
    tasks = _tasks(name, prompts, each)
    if any(task.grid for task in tasks):
        raise UsageError("DPG's pictures share a file: CLIP scores take one picture each.")
    pairs = [(user_path(pictures) / file, task) for task in tasks for file in task.files]
    if missing := next((file for file, _ in pairs if not file.exists()), None):
        raise FileError(f"{missing} is missing: draw the set first.")
    with Status(quiet) as status:
        status.start("scoring")
        files, texts = [file for file, _ in pairs], [task.prompt for _, task in pairs]
        scores = packages.clip_scores(
            files, texts, model=clip_model, weights=weights, device=device
        )
        rows = [(score, 1) for score in scores]
        scored = Scored("clip", {"all": rows}, mean("clip_score"))
        found = scored_report(scored, settings={"model": clip_model, "weights": weights})
        evaluating.write_reports([found], report or [], status, pictures)
    evaluating.show([found], as_json)


@evaluate.command("report", cls=Command)
def side_by_side(
    reports: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Reports as JSON.", show_default=False)
    ],
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="An array of the reports.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Show reports side by side."""
    from liquid_mlx.evaluation.report import read_report

    evaluating.check_reports(report or [])
    found = [read_report(path) for path in reports]
    with Status(quiet) as status:
        evaluating.write_reports(found, report or [], status)
    evaluating.show(found, as_json)
