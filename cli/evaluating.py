"""What `liquid evaluate` and `liquid compare` share: asking questions, and writing reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from liquid_mlx.errors import FileError, UsageError
from liquid_mlx.files import atomic_write, user_path

from . import options, together
from .asker import Asker
from .printer import print_table
from .terminal import Status, one_line
from .vqa import Answers, Question, read_questions

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid

SUFFIXES = (".json", ".md", ".html")


class Chooser(Asker):
    """Asks as ever, but takes the likeliest choice where a question brings its choices."""

    def __init__(self, liquid: Liquid, sampling: options.Sampling, listed: Sequence[list[str]]):
        super().__init__(liquid, sampling, exif=False)  # the reference ignores EXIF
        self._listed = listed

    def ask_all(
        self, picture: Path | bytes, questions: Sequence[tuple[int, str]]
    ) -> list[dict[str, Any]]:
        """As of any asker; choices are scored one question at a time."""
        if not any(self._listed[index] for index, _ in questions):
            return super().ask_all(picture, questions)
        found = []
        for index, text in questions:
            self.choices = self._listed[index] or None
            found += super().ask_all(picture, [(index, text)])
        self.choices = None
        return found


def ask(
    task: str,
    file: Path,
    images: Path,
    answers: Path,
    model: str,
    adapter: list[str] | None,
    max_tokens: int,
    dtype: str | None,
    status: Status,
) -> dict[str, Any]:
    """Answer what ``answers`` does not answer yet; what the report says of the run.

    Raises:
        FileError: some questions could not be answered; the others are.
    """
    team = together.start(status)
    with team.together():
        questions, listed = _questions(task, file, images)
    together.same(team, "questions", list(map(str, questions)))
    done = Answers(answers, questions, team)
    liquid = options.load_model(model, status, dtype=dtype, adapter=adapter, team=team)
    sampling = options.Sampling(
        max_tokens=max_tokens, temperature=0.0, top_k=0, top_p=1.0, seed=None
    )
    failed = done.fill(Chooser(liquid, sampling, listed), images, status)
    if not team.first:  # rank 0 has all answers, and reports
        raise typer.Exit
    if failed:
        raise FileError(f"{failed} of {len(questions)} questions were not answered: see above.")
    return {
        "model": model,
        "settings": {
            "temperature": 0,
            "max_tokens": max_tokens,
            "exif": False,
            "adapter": adapter,
            **described(liquid),
        },
        "seconds": status.seconds,
    }


def described(liquid: Liquid) -> dict[str, Any]:
    """What a report says of a loaded model."""
    quantization = liquid.config.quantization or {}
    kept = {
        name: quantization[name] for name in ("bits", "group_size", "mode") if name in quantization
    }
    return {"dtype": str(liquid.engine.backbone.dtype).removeprefix("mlx.core."), **kept}


def _questions(task: str, file: Path, images: Path) -> tuple[list[Question], list[list[str]]]:
    """The questions in LLaVA's form, and the choices of each."""
    if task == "mmbench":
        from liquid_mlx.evaluation.scorers.choices import read_mmbench

        rows = read_mmbench(file, images=True)
        for row in rows:
            path = user_path(images) / f"{row.index}.jpg"
            if not path.exists():
                atomic_write(path, row.image)
        found = [Question(row.index, f"{row.index}.jpg", row.prompt) for row in rows]
        return found, [list(row.options) for row in rows]
    from liquid_mlx.evaluation.records import read_jsonl

    listed = []
    for line in read_jsonl(file):
        choices = line.get("choices", [])
        if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
            raise FileError(
                f"{file}: the choices of question {line.get('question_id')} are no list."
            )
        listed.append(choices)
    return read_questions(file), listed


def name_images(found: dict[str, Any], questions: Path) -> None:
    """Give a report's examples the images that the questions are about."""
    from liquid_mlx.evaluation.records import read_jsonl

    images = {row.get("question_id"): row.get("image") for row in read_jsonl(questions)}
    for example in found["examples"]:
        example["image"] = example["image"] or str(images.get(example["id"]) or "")


def check_reports(paths: Sequence[Path]) -> None:
    """Raise UsageError for a report of an unknown kind."""
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--report {path}: its name ends in {', '.join(SUFFIXES)}.")


def write_reports(
    found: Sequence[dict[str, Any]],
    paths: Sequence[Path],
    status: Status,
    images: Path | None = None,
) -> None:
    """Write one report, or several side by side, in the form that each name's ending says."""
    from liquid_mlx.evaluation.page import page
    from liquid_mlx.evaluation.report import markdown

    for path in paths:
        path = user_path(path)
        if path.suffix.lower() == ".html":
            text = page(found, user_path(images) if images else None)
        elif path.suffix.lower() == ".md":
            text = markdown(found)
        else:
            text = as_json(found)
        atomic_write(path, text)
        status.say(f"{path}  written")


def as_json(found: Sequence[dict[str, Any]]) -> str:
    """One object, or an array of several."""
    values = found[0] if len(found) == 1 else list(found)
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def show(found: Sequence[dict[str, Any]], json_wanted: bool) -> None:
    """Print figures: a table, or JSON with all digits."""
    from liquid_mlx.evaluation.report import number, rows, title

    if json_wanted:
        kept = [
            {k: v for k, v in one.items() if k not in ("examples", "pictures")} for one in found
        ]
        typer.echo(as_json(kept), nl=False)
        return
    for label in dict.fromkeys(one["label"] for one in found if one.get("label")):
        typer.echo(one_line(str(label)))
    heads = [title(one) for one in found]
    table = [
        [group, name, *map(number, values, intervals)]
        for group, name, values, intervals in rows(found)
    ]
    print_table(["group", "figure", *heads], table)
