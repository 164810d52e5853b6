"""Best of many: the model reads the codes it has drawn, and says which fit the prompt.

Nothing is decoded or encoded in between. Every judge's score is a natural logarithm of a
probability, so that scores of the same prompt can be compared and added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from liquid_mlx.config import Size
from liquid_mlx.errors import UsageError
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.likelihood import code_log_probabilities
from liquid_mlx.generation.prefill import prefill, prefill_rows
from liquid_mlx.generation.text import score_ids
from liquid_mlx.params import MAX_COUNT, choice, flag, integer

Judge = Literal["likelihood", "question", "both", "kept"]
QUESTION = "Does the picture show {}?"
YES, NO = ("yes", "Yes"), ("no", "No")
LEAST = 1e-30  # a probability whose logarithm is still finite


@dataclass(frozen=True)
class BestOf:
    """How many pictures are drawn of each that is asked for, and how the best is found.

    Attributes:
        candidates: pictures drawn of each.
        judge: "likelihood" is log P(prompt | picture) behind the caption template; "question" log
            P(yes) of yes and no, behind "Does the picture show ...?"; "both" their sum; "kept", for
            masks, the log-probability of the codes that stay behind the first that is drawn.
        prune: once half of the rows are drawn, only the better half of the candidates goes on:
            those whose codes the prompt makes most likelier than no prompt does.
        keep_all: all candidates are pictures of the result, the best first.

    Raises:
        SettingsError: a value is out of range or unknown.
        UsageError: two of them cannot be combined.
    """

    candidates: int = 1
    judge: Judge = "both"
    prune: bool = False
    keep_all: bool = False

    def __post_init__(self) -> None:
        integer("best_of", self.candidates, 1, MAX_COUNT, f"use 1 to {MAX_COUNT}")
        choice("judge", self.judge, get_args(Judge))
        if flag("prune", self.prune) and flag("keep_all", self.keep_all):
            raise UsageError("prune and keep_all cannot be combined.")


def scores(
    engine: Engine,
    judge: Judge,
    prompt: str,
    ids: list[int],
    codes: np.ndarray,
    given: np.ndarray | None,
) -> list[dict[str, float]]:
    """What the judge says of each picture: its parts by name, and "score", which decides.

    Args:
        prompt: what the pictures are to show.
        ids: of the prompt that they were drawn behind; read by "kept" alone.
        codes: int [pictures, rows, columns].
        given: int [positions], -1 where a code was drawn; read by "kept" alone.
    """
    parts: dict[str, np.ndarray] = {}
    if judge in ("likelihood", "both"):
        parts["likelihood"] = caption_log_probability(engine, prompt, codes)
    if judge in ("question", "both"):
        parts["yes"] = affirmation(engine, prompt, codes)
    if judge == "kept":
        assert given is not None
        parts["kept"] = kept_log_probability(engine, ids, codes, given)
    total = sum(np.log(np.maximum(v, LEAST)) if k == "yes" else v for k, v in parts.items())
    every = {**parts, "score": np.asarray(total)}
    return [{name: float(v[i]) for name, v in every.items()} for i in range(len(codes))]


def caption_log_probability(engine: Engine, prompt: str, codes: np.ndarray) -> np.ndarray:
    """Log P(prompt, then the end | picture) behind the caption template: float64 [pictures]."""
    pairs = [engine.prompts.caption(grid) for grid in codes]
    prefix = prefill_rows(engine.backbone, [shared + rest for shared, rest in pairs])
    reply = engine.prompts.reply(prompt)
    return np.array(score_ids(engine.backbone, engine.text_head, prefix, reply, engine.stop))


def affirmation(engine: Engine, prompt: str, codes: np.ndarray) -> np.ndarray:
    """P(the answer begins with yes | it begins with yes or no): float64 [pictures], 0 to 1."""
    question = QUESTION.format(prompt.strip())
    pairs = [engine.prompts.question(grid, question) for grid in codes]
    prefix = prefill_rows(engine.backbone, [shared + rest for shared, rest in pairs])

    def begins(words: Sequence[str]) -> np.ndarray:
        different = {tuple(engine.prompts.reply(word)) for word in words}
        logs = [score_ids(engine.backbone, engine.text_head, prefix, ids) for ids in different]
        return np.asarray(np.logaddexp.reduce(np.array(logs), axis=0))

    yes, no = begins(YES), begins(NO)
    return np.asarray(np.exp(yes - np.logaddexp(yes, no)))


def kept_log_probability(
    engine: Engine, ids: list[int], codes: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """Log-probability of the codes that stay behind the first that is drawn: float32 [pictures]."""
    logs = code_log_probabilities(
        engine, prefill(engine.backbone, ids), codes.reshape(len(codes), -1)
    )
    return np.asarray(logs[:, kept_behind(given)].sum(axis=1))


def kept_behind(given: np.ndarray) -> np.ndarray:
    """The positions that stay behind the first that is drawn: int [any number]."""
    return np.flatnonzero((given >= 0) & (np.cumsum(given < 0) > 0))


def prompt_gain(engine: Engine, ids: list[int], size: Size, codes: np.ndarray) -> np.ndarray:
    """Log P(codes | prompt) - log P(codes | no prompt): float32 [pictures].

    Of a beginning int [pictures, positions], too: by Bayes it is how much that tells for the
    prompt, log P(prompt | codes) but for a constant.
    """
    behind = code_log_probabilities(engine, prefill(engine.backbone, ids), codes)
    alone = code_log_probabilities(engine, engine.unconditional(size), codes)
    return np.asarray((behind - alone).sum(axis=1))


def better_half(values: np.ndarray, groups: Sequence[int]) -> list[int]:
    """The numbers of the larger half (rounded up) of each group's values, in ascending order."""
    kept: list[int] = []
    for group in dict.fromkeys(groups):
        mine = [i for i, other in enumerate(groups) if other == group]
        mine.sort(key=lambda i: -values[i])
        kept += mine[: (len(mine) + 1) // 2]
    return sorted(kept)


Picture = tuple[int, int]  # the number of its prompt, and its seed


@dataclass(frozen=True)
class Candidate:
    """A drawn picture, its codes int32 [positions], and what the judge says of it."""

    picture: Picture
    codes: np.ndarray
    scores: Mapping[str, float]


def ranked(found: Sequence[Candidate], prompt: int, best: BestOf) -> list[Candidate]:
    """The candidates of a prompt that are kept, the best first."""
    mine = [one for one in found if one.picture[0] == prompt]
    mine.sort(key=lambda one: -one.scores["score"])
    return mine if best.keep_all else mine[:1]


def best_record(found: Sequence[Candidate], chosen: Candidate, best: BestOf) -> dict[str, Any]:
    """What the settings of a chosen picture say: its scores, and those of all it was among."""
    among = [one for one in found if one.picture[0] == chosen.picture[0]]
    return {
        "best_of": {
            "candidates": best.candidates,
            "judge": best.judge,
            "pruned": best.candidates - len(among),
            **chosen.scores,
            "scores": {str(one.picture[1]): one.scores["score"] for one in among},
        }
    }
