"""Training rows: token ids of every task in the reference's prompt formats, and their targets.

A row is a list of ids with the positions whose next token is learned. Questions about one picture
share its codes: they are branches behind it that cannot see each other.
"""

import random
from dataclasses import dataclass, field

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training import language
from training import tokenizer as tk
from training.cells import scene_codes
from training.scenes import training_scene
from training.world import Scene

UNCONDITIONAL_SHARE = 0.1
COUNT_WEIGHTS = (3, 37, 42, 18)
QUESTIONS_PER_PICTURE = 6
DRAW_LENGTH, WIDE_LENGTH, QUESTION_LENGTH, CAPTION_LENGTH, CHAT_LENGTH = 100, 148, 208, 96, 40


@dataclass
class Row:
    """`branch` is 0 for what everything sees, else the number of a question."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    learned: list[bool] = field(default_factory=list)

    def add(self, ids: list[int], *, learned: bool = False, branch: int = 0, start: int = 0):
        """Append ids; `learned` if they are to be predicted. `start` is the branch's root."""
        before = sum(b == branch for b in self.branch)
        first = start + before if branch else len(self.ids)
        self.ids += ids
        self.positions += range(first, first + len(ids))
        self.branch += [branch] * len(ids)
        self.learned += [learned] * len(ids)


class Rows:
    """Makes rows for one tokenizer; the codes' ids follow the text vocabulary."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.offset = tokenizer.get_vocab_size()
        self._cache: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        """Ids of a text, without <bos>."""
        ids = self._cache.get(text)
        if ids is None:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._cache) < 200_000:
                self._cache[text] = ids
        return list(ids)

    def codes(self, scene: Scene) -> list[int]:
        return (scene_codes(scene).reshape(-1) + self.offset).tolist()

    def draw(self, scene: Scene, caption: str | None) -> Row:
        """Text to image; without a caption the unconditional prompt."""
        size = tk.SIZE_CUE.format(scene.width, scene.height) if scene.columns != 8 else ""
        row = Row()
        if caption is None:
            words = self.text(size + " ") if size else []
            row.add([tk.BOS, *words, tk.UNCONDITIONAL, tk.BOI])
        else:
            row.add([tk.BOS, *self.text(caption + size + tk.DESCRIPTION_CUE), tk.BOI])
        row.add(self.codes(scene), learned=True)
        return row

    def caption(self, scene: Scene, caption: str) -> Row:
        row = Row()
        row.add([tk.BOS, tk.BOI, *self.codes(scene), tk.EOI, *self.text(language.CAPTION_CUE)])
        row.add([*self.text(" " + caption), tk.EOS], learned=True)
        return row

    def questions(self, scene: Scene, asked: list[tuple[str, str]]) -> Row:
        row = Row()
        row.add([tk.BOS, tk.TURN, *self.text("user\n"), tk.BOI, *self.codes(scene), tk.EOI])
        root = len(row.ids)
        for branch, (question, answer) in enumerate(asked, 1):
            turn = [*self.text("\n" + question), tk.END_TURN, *self.text("\n")]
            row.add([*turn, tk.TURN, *self.text("model\n")], branch=branch, start=root)
            row.add([*self.text(answer), tk.END_TURN], learned=True, branch=branch, start=root)
        return row

    def chat(self, said: str, reply: str) -> Row:
        row = Row()
        row.add([tk.BOS, tk.TURN, *self.text("user\n" + said), tk.END_TURN, *self.text("\n")])
        row.add([tk.TURN, *self.text("model\n")])
        row.add([*self.text(reply), tk.END_TURN], learned=True)
        return row


@dataclass
class Batch:
    """Padded rows. `targets` index the flattened positions, `labels` are the ids that follow."""

    ids: Tensor
    targets: Tensor
    labels: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None


def collate(rows: list[Row], length: int) -> Batch:
    """Rows of at most `length` ids -> one batch; padding comes last, where nothing looks."""
    ids = torch.full((len(rows), length), tk.PAD)
    targets, labels = [], []
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        learned = np.flatnonzero(row.learned)
        targets.append(learned - 1 + number * length)
        labels.append(np.array(row.ids)[learned])
    batch = Batch(
        ids, torch.from_numpy(np.concatenate(targets)), torch.from_numpy(np.concatenate(labels))
    )
    if any(row.branch[-1] for row in rows):
        positions = torch.zeros_like(ids)
        branch = torch.full_like(ids, -1)
        for number, row in enumerate(rows):
            positions[number, : len(row.ids)] = torch.tensor(row.positions)
            branch[number, : len(row.ids)] = torch.tensor(row.branch)
        seen = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
        batch.mask = (seen & torch.ones(length, length, dtype=torch.bool).tril())[:, None]
        batch.positions = positions
    return batch


class Mixture:
    """An endless stream of training batches."""

    def __init__(self, rows: Rows, seed: int):
        self.rows, self.rng = rows, random.Random(seed)

    def _scene(self, wide: bool = False) -> Scene:
        count = self.rng.choices(range(4), COUNT_WEIGHTS)[0]
        return training_scene(self.rng, count=count, wide=wide)

    def _fill(self, make, size: int, length: int) -> Batch:
        rows: list[Row] = []
        while len(rows) < size:
            row = make()
            if len(row.ids) <= length:
                rows.append(row)
        return collate(rows, length)

    def draw(self, size: int, *, wide: bool = False) -> Batch:
        def make() -> Row:
            scene = self._scene(wide)
            without = self.rng.random() < UNCONDITIONAL_SHARE
            return self.rows.draw(scene, None if without else language.caption(scene, self.rng))

        return self._fill(make, size, WIDE_LENGTH if wide else DRAW_LENGTH)

    def questions(self, size: int) -> Batch:
        def make() -> Row:
            scene = self._scene()
            asked = [language.question(scene, self.rng) for _ in range(QUESTIONS_PER_PICTURE)]
            return self.rows.questions(scene, asked)

        return self._fill(make, size, QUESTION_LENGTH)

    def captions(self, size: int) -> Batch:
        def make() -> Row:
            scene = self._scene()
            return self.rows.caption(scene, language.plain_caption(scene))

        return self._fill(make, size, CAPTION_LENGTH)

    def chat(self, size: int) -> Batch:
        make = lambda: self.rows.chat(*language.small_talk(self.rng))  # noqa: E731
        return self._fill(make, size, CHAT_LENGTH)
