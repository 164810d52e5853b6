"""Scorers that count as the official scripts do; each says which one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import Scored
from liquid_mlx.evaluation.records import Answers, read_answers
from liquid_mlx.evaluation.scorers.choices import score_custom, score_mmbench
from liquid_mlx.evaluation.scorers.gqa import score_gqa
from liquid_mlx.evaluation.scorers.mme import score_mme, score_mme_folder
from liquid_mlx.evaluation.scorers.pope import score_pope
from liquid_mlx.evaluation.scorers.vqa import score_textvqa, score_vqav2
from liquid_mlx.files import user_path

SCORERS: dict[str, Callable[[Answers, Path, Path | None], Scored]] = {
    "vqav2": score_vqav2,
    "textvqa": score_textvqa,
    "gqa": score_gqa,
    "pope": score_pope,
    "mme": score_mme,
    "mmbench": score_mmbench,
    "custom": score_custom,
}


def score(
    task: str, answers: Path, annotations: Path | None = None, questions: Path | None = None
) -> Scored:
    """Score a file of answers.

    Args:
        task: one of ``SCORERS``.
        answers: LLaVA's JSONL, or what a benchmark's server takes; of MME also the folder of
            results that its own tool reads, which needs no annotations.
        annotations: the benchmark's own file or folder.
        questions: LLaVA's JSONL of questions; POPE alone needs it.

    Raises:
        FileError: a file is missing, another, or does not belong to the others.
    """
    if task == "mme" and user_path(answers).is_dir():
        return score_mme_folder(answers)
    if annotations is None:
        raise FileError(f"{task} is scored against --annotations: name the benchmark's own file.")
    try:
        return SCORERS[task](read_answers(answers), annotations, questions)
    except (TypeError, ValueError, AttributeError, LookupError) as error:  # of foreign JSON
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise FileError(f"{annotations} has another form than {task}'s file ({reason}).") from None
