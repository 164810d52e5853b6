"""MME: two questions about every image, as ``calculation.py`` of the official tool counts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import Groups, Item, Row, Scored, Sums
from liquid_mlx.evaluation.records import Answers, read_text
from liquid_mlx.files import user_path

KINDS = {
    "Perception": (
        *("existence", "count", "position", "color", "posters"),
        *("celebrity", "scene", "landmark", "artwork", "OCR"),
    ),
    "Cognition": (
        *("commonsense_reasoning", "numerical_calculation"),
        *("text_translation", "code_reasoning"),
    ),
}
ASK = "Answer the question using a single word or phrase."
YES_NO = "Please answer yes or no."
Line = tuple[str, str, str, str]  # image, question, truth, answer


def said(answer: str) -> str:
    """What an answer says by its first four letters: "yes", "no" or "other"."""
    start = answer.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def score_mme(answers: Answers, annotations: Path, questions: Path | None = None) -> Scored:
    """MME's score of every task (accuracy and accuracy+, in points up to 200), and its two sums.

    Args:
        answers: JSONL whose ``question_id`` is "task/image.png", as LLaVA's.
        annotations: ``MME_Benchmark_release_version``: of every task a folder of texts, with a
            question and its truth a line.

    Raises:
        FileError: a question or its truth is missing.
    """
    truths = _truths(user_path(annotations))
    tasks: dict[str, list[Line]] = defaultdict(list)
    for row in answers.rows:
        task, _, image = str(row.id).partition("/")
        name = image.rsplit("/", 1)[-1]
        asked = row.prompt.replace(ASK, "").strip()
        keys = [asked] if YES_NO in asked else [f"{asked} {YES_NO}", f"{asked}  {YES_NO}"]
        stem = name.split(".")[0]
        found = next((key for key in keys if (task, stem, key) in truths), None)
        if found is None:
            raise FileError(f"{annotations} has no question {keys[0][:80]!r} about {row.id}.")
        tasks[task].append((name, found, truths[task, stem, found], row.text))
    return _scored(tasks, answers.path)


def score_mme_folder(results: Path) -> Scored:
    """The same from the files that the official tool reads: ``task.txt`` with image, question,
    truth and answer a line, separated by tabs.

    Raises:
        FileError: there is none, or a line is of another form.
    """
    tasks = {}
    for file in sorted(user_path(results).glob("*.txt")):
        if any(file.stem in names for names in KINDS.values()):
            lines = [line.split("\t") for line in read_text(file).split("\n") if line]
            if not all(len(line) == 4 for line in lines):
                raise FileError(f"{file}: a line is image, question, truth and answer, with tabs.")
            tasks[file.stem] = [(line[0], line[1], line[2], line[3]) for line in lines]
    return _scored(tasks, results)


def _truths(folder: Path) -> dict[tuple[str, str, str], str]:
    """(task, image without ending, question) -> "Yes" or "No"."""
    found = {}
    for task in sorted(path for path in folder.glob("*") if path.is_dir()):
        texts = task / "questions_answers_YN"
        for file in sorted((texts if texts.is_dir() else task).glob("*.txt")):
            for line in read_text(file).split("\n"):
                question, tab, truth = line.strip().partition("\t")
                if tab:
                    found[task.name, file.stem, question] = truth
    if not found:
        raise FileError(f"{folder} is not MME's folder of tasks with questions and truths.")
    return found


def _scored(tasks: dict[str, list[Line]], path: Path) -> Scored:
    parts: dict[str, list[Row]] = {}
    items = []
    names = [name for kind in KINDS.values() for name in kind]
    for task in sorted(tasks, key=lambda name: names.index(name) if name in names else len(names)):
        lines = tasks[task]
        if len(lines) % 2:
            raise FileError(f"{path}: {task} has {len(lines)} answers, not two for every image.")
        rights = []
        for image, question, truth, answer in lines:
            if truth.lower() not in ("yes", "no"):
                raise FileError(f"{path}: the truth of {question[:80]!r} is {truth[:20]!r}.")
            rights.append(said(answer) == truth.lower())
            items.append(Item(image, question, answer, truth, float(rights[-1]), image))
        others = [said(line[3]) == "other" for line in lines]
        parts[task] = [
            (first + second, first and second, others[2 * i] + others[2 * i + 1], 1)
            for i, (first, second) in enumerate(zip(rights[::2], rights[1::2], strict=True))
        ]  # of every image: right answers, both right, neither yes nor no, one
    if not parts:
        raise FileError(f"{path} has no answers to MME's tasks.")
    return Scored("mme", parts, _figures, items)


def _figures(sums: Sums) -> Groups:
    tasks: Groups = {}
    for task, (right, both, other, images) in sums.items():
        accuracy, plus = right / (2 * images), both / images
        tasks[task] = {
            "score": accuracy * 100 + plus * 100,
            "accuracy": accuracy,
            "accuracy_plus": plus,
            "other_answers": round(other),
            "images": round(images),
        }
    totals: Groups = {}
    for kind, names in KINDS.items():
        known = [tasks[name]["score"] or 0.0 for name in names if name in tasks]
        if known:
            total = 0.0
            for score in known:
                total += score
            totals[kind] = {"score": total, "tasks": len(known)}
    return {**totals, **tasks}
