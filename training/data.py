"""Training rows: token ids of every task in the reference's prompt formats, and their targets.

A document is a list of ids with those that are learned. Questions about one picture share its
codes: they are branches behind it that cannot see each other. Rows that mix documents keep them
apart in the same way.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training import outside, shown
from training import tokenizer as tk
from training.cells import scene_codes
from training.language import questions, talk
from training.language.facts import CAPTION_CUE, Facts, caption, facts_of
from training.language.prompts import Prompt, prompt
from training.marks import GROUPS, Mark, asked_for, in_code_order, marks, named
from training.scenes import random_scene, scattered_scene
from training.world import COLUMNS, ROWS, Scene

SHORT, LONG, WIDE, SEEN, TALK = 92, 116, 152, 224, 416  # lengths of rows
OUTSIDE_POOL = 4000  # pictures from outside
Encode = Callable[[Sequence[np.ndarray]], np.ndarray]  # pictures uint8 -> codes int64 [n, 64]


@dataclass
class Document:
    """`branch` is 0 for what everything behind it sees, else the number of a question."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    learned: list[bool] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)  # by index of the document's ids

    def mark(self, codes: np.ndarray, facts: Facts | None) -> None:
        """Mark the picture whose codes were added last."""
        first = len(self.ids) - codes.size
        self.marks += [(first + index, labels) for index, labels in marks(codes, facts)]

    def mark_wanted(self, scene: Scene, *, plan: bool) -> None:
        """Mark the id added last, behind which the scene is to be drawn."""
        self.marks.append((len(self.ids) - 1, asked_for(facts_of(scene), plan=plan)))

    def add(
        self, ids: list[int], *, learned: bool = False, branch: int = 0, start: int = 0
    ) -> None:
        """Append ids; `learned` if they are to be predicted. `start` is the branch's root."""
        before = sum(b == branch for b in self.branch)
        first = start + before if branch else len(self.ids)
        self.ids += ids
        self.positions += range(first, first + len(ids))
        self.branch += [branch] * len(ids)
        self.learned += [learned] * len(ids)


class Documents:
    """Makes documents for one tokenizer; the codes' ids follow the text vocabulary."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.offset = tokenizer.get_vocab_size()
        self._cache: dict[str, list[int]] = {}
        self.late = False  # whether the later part's kinds are drawn, and plans are marked

    def text(self, text: str) -> list[int]:
        """Ids of a text, without <bos>."""
        ids = self._cache.get(text)
        if ids is None:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._cache) < 20_000:
                self._cache[text] = ids
        return list(ids)

    def picture(self, codes: np.ndarray) -> list[int]:
        return (codes.reshape(-1) + self.offset).tolist()

    def draw(self, scene: Scene, text: str | None) -> Document:
        """Text to image; without a text the unconditional prompt."""
        wide = scene.columns != COLUMNS
        size = tk.SIZE_CUE.format(scene.width, scene.height) if wide else ""
        document = Document()
        if text is None:
            words = self.text(size + " ") if size else []
            document.add([tk.BOS, *words, tk.UNCONDITIONAL, tk.BOI])
        else:
            document.add([tk.BOS, *self.text(text + size + tk.DESCRIPTION_CUE), tk.BOI])
            document.mark_wanted(scene, plan=self.late)
        document.add(self.picture(scene_codes(scene)), learned=True)
        return document

    def caption(self, codes: np.ndarray, caption: str, facts: Facts | None) -> Document:
        document = Document()
        document.add([tk.BOS, tk.BOI, *self.picture(codes)])
        document.mark(codes, facts)
        document.add([tk.EOI, *self.text(CAPTION_CUE)])
        document.add([*self.text(" " + caption), tk.EOS], learned=True)
        return document

    def seen(self, codes: np.ndarray | None, facts: Facts | None = None) -> Document:
        """A user's turn that starts with a picture, or with nothing; `ask` goes on."""
        document = Document()
        document.add([tk.BOS, tk.TURN, *self.text("user\n")])
        if codes is not None:
            document.add([tk.BOI, *self.picture(codes)])
            document.mark(codes, facts)
            document.add([tk.EOI, *self.text("\n")])
        return document

    def ask(
        self,
        document: Document,
        said: str,
        reply: str,
        length: int,
        facts: Facts | None = None,
    ) -> bool:
        """Add a branch if it fits into `length` ids, with marks at the things of `facts` that it
        names; whether it did."""
        root = sum(b == 0 for b in document.branch)
        branch = document.branch[-1] + 1
        turn = [*self.text(said), tk.END_TURN, *self.text("\n"), tk.TURN, *self.text("model\n")]
        answer = [*self.text(reply), tk.END_TURN]
        if len(document.ids) + len(turn) + len(answer) > length:
            return False
        if facts:
            document.marks += self._named(said, facts, len(document.ids))
        document.add(turn, branch=branch, start=root)
        document.add(answer, learned=True, branch=branch, start=root)
        return True

    def talk(self, turns: Sequence[talk.Turn], length: int) -> Document:
        """A conversation, cut at a turn's end to at most `length` ids."""
        document, scene = Document(), None
        document.add([tk.BOS])
        for number, turn in enumerate(turns):
            asked = [*self.text("\n"), tk.EOS] if number else []
            asked += [tk.TURN, *self.text("user\n")]
            said = [*self.text(turn.said), tk.END_TURN, *self.text("\n")]
            said += [tk.TURN, *self.text("model\n")]
            reply = [*self.text(turn.reply), tk.END_TURN]
            pictures = COLUMNS * ROWS + 3 if turn.shown or turn.drawn else 0
            if len(document.ids) + len(asked) + len(said) + len(reply) + pictures > length:
                break
            document.add(asked)
            if turn.shown:
                self._insert(document, turn.shown, learned=False)
                document.add(self.text("\n"))
            scene = turn.shown or scene
            if scene:
                document.marks += self._named(turn.said, facts_of(scene), len(document.ids))
            document.add(said)
            if turn.drawn:
                self._insert(document, turn.drawn, learned=True)
            scene = turn.drawn or scene
            document.add(reply, learned=True)
        return document

    def _insert(self, document: Document, scene: Scene, *, learned: bool) -> None:
        """A picture between its signs, with its marks."""
        codes = scene_codes(scene)
        document.add([tk.BOI], learned=learned)
        if learned:
            document.mark_wanted(scene, plan=self.late)
        document.add(self.picture(codes), learned=learned)
        document.mark(codes, facts_of(scene))
        document.add([tk.EOI], learned=learned)

    def _named(self, said: str, facts: Facts, start: int) -> list[Mark]:
        """Marks at the things that a text names, its first token being the document's `start`."""
        names = named(said, facts)
        if not names:
            return []
        ends = self.tokenizer.encode(said, add_special_tokens=False).offsets
        at = {end: start + index for index, (_, end) in enumerate(ends)}
        return [(at[end], labels) for end, labels in names if end in at]


@dataclass
class Batch:
    """Padded rows. `codes` and `words` index the flattened positions whose next id, in the label
    of the same name, is a code (counted from the first) or of the text vocabulary; `marked` those
    with marks, [N, groups]."""

    ids: Tensor
    codes: Tensor
    code_labels: Tensor
    words: Tensor
    word_labels: Tensor
    marked: Tensor
    mark_labels: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None


def collate(rows: Sequence[Sequence[Document]], length: int, offset: int) -> Batch:
    """Rows of documents, at most `length` ids each -> one batch; padding comes last."""
    ids = np.full((len(rows), length), tk.PAD)
    positions = np.zeros((len(rows), length), dtype=np.int64)
    owner = np.full((len(rows), length), -1)
    branch = np.full((len(rows), length), -1)
    targets, labels = [], []
    marked: list[Mark] = []
    for number, row in enumerate(rows):
        start = 0
        for count, document in enumerate(row):
            stop = start + len(document.ids)
            ids[number, start:stop] = document.ids
            positions[number, start:stop] = document.positions
            owner[number, start:stop] = count
            branch[number, start:stop] = document.branch
            # The id before a branch's first one is its root's last, but questions come first.
            learned = np.flatnonzero(document.learned)
            targets.append(learned - 1 + start + number * length)
            labels.append(np.array(document.ids)[learned])
            marked += [(at + start + number * length, said) for at, said in document.marks]
            start = stop
    target, label = np.concatenate(targets), np.concatenate(labels)
    code = label >= offset
    batch = Batch(
        torch.from_numpy(ids),
        torch.from_numpy(target[code]),
        torch.from_numpy(label[code] - offset),
        torch.from_numpy(target[~code]),
        torch.from_numpy(label[~code]),
        torch.tensor([at for at, _ in marked], dtype=torch.int64),
        torch.tensor([said for _, said in marked], dtype=torch.int64).view(-1, len(GROUPS)),
    )
    if (branch > 0).any() or (owner > 0).any():
        seen = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
        seen &= owner[:, None, :] == owner[:, :, None]
        batch.mask = torch.from_numpy(np.tril(seen))[:, None]
        batch.positions = torch.from_numpy(positions)
    return batch


class Mixture:
    """An endless stream of training batches."""

    def __init__(self, documents: Documents, encode: Encode, seed: int):
        self.documents, self.encode, self.rng = documents, encode, random.Random(seed)
        self.outside: np.ndarray | None = None
        self._drawn: dict[int, list[Document]] = {SHORT: [], LONG: []}

    def _prompt(self, *, wide: bool = False) -> Prompt:
        strange = 0.19 if self.documents.late else 0.11
        return prompt(self.rng, wide=wide, strange=strange, late=self.documents.late)

    def draw(self, tokens: int) -> Batch:
        """Prompts of about one length: whichever length fills a batch first."""
        while True:
            asked = self._prompt()
            document = self.documents.draw(asked.scene, asked.text)
            for length in (SHORT, LONG):
                if len(document.ids) <= length:
                    waiting = self._drawn[length]
                    waiting.append(document)
                    if len(waiting) == tokens // length:
                        self._drawn[length] = []
                        return collate([[d] for d in waiting], length, self.documents.offset)
                    break

    def guided(self, tokens: int, *, wide: bool = False) -> Batch:
        """Rows in pairs: a prompt, and its picture without one."""
        length = WIDE if wide else SHORT
        rows: list[list[Document]] = []
        while len(rows) < tokens // length - 1:
            asked = self._prompt(wide=wide)
            document = self.documents.draw(asked.scene, asked.text)
            if len(document.ids) <= length:
                rows += [[document], [self.documents.draw(asked.scene, None)]]
        return collate(rows, length, self.documents.offset)

    def wide(self, tokens: int) -> Batch:
        """Pairs, too, of the second size."""
        return self.guided(tokens, wide=True)

    def _pictures(self, number: int) -> list[tuple[np.ndarray, Facts | None]]:
        """Codes and facts of pictures on the grid, anywhere, and from outside (no facts)."""
        if self.outside is None:
            self.outside = self.encode(outside.outside_pool(OUTSIDE_POOL, self.rng.getrandbits(32)))
        shares = (26, 12, 48, 14) if self.documents.late else (26, 12, 50, 12)
        kinds = self.rng.choices(("grid", "scattered", "free", "outside"), shares, k=number)
        small = 0.35 if self.documents.late else 0.0
        free = [shown.free_picture(self.rng, small=small) for _ in range(kinds.count("free"))]
        codes = iter(self.encode([picture for picture, _ in free]) if free else ())
        facts = iter([fact for _, fact in free])
        found: list[tuple[np.ndarray, Facts | None]] = []
        for kind in kinds:
            if kind in ("grid", "scattered"):
                count = self.rng.choices(range(5), (3, 22, 35, 24, 16))[0]
                make = random_scene if kind == "grid" else scattered_scene
                scene = make(self.rng, count=count)
                found.append((scene_codes(scene), facts_of(scene)))
            elif kind == "free":
                found.append(((seen := next(codes)), in_code_order(seen, next(facts))))
            else:
                found.append((self.rng.choice(self.outside), None))  # type: ignore[arg-type]
        return found

    def seen(self, tokens: int) -> Batch:
        """Questions, captions and small talk, packed."""
        rng, documents = self.rng, self.documents
        rows: list[list[Document]] = []
        number = tokens // SEEN
        pictures = iter(self._pictures(2 * number))
        while len(rows) < number:
            dice = rng.random()
            codes, facts = next(pictures)
            if dice < (0.74 if self.documents.late else 0.80):
                document = documents.seen(codes, facts)
                while True:
                    if facts:
                        asked = questions.question(facts, rng, late=self.documents.late)
                    else:
                        asked = talk.outside_question(rng)
                    if not documents.ask(document, asked[0], asked[1], SEEN, facts):
                        break
                    if not facts and rng.random() < 0.25:
                        break  # one answer needs no ten questions
                rows.append([document])
            elif dice < 0.92:
                row = [self._caption(codes, facts)]
                row.append(self._caption(*next(pictures)))
                left = SEEN - sum(len(d.ids) for d in row)
                if left > 0:
                    rows.append(row)
            else:
                document = documents.seen(None)
                while documents.ask(document, *talk.small_talk(rng), SEEN):
                    pass
                rows.append([document])
        return collate(rows, SEEN, documents.offset)

    def look(self, tokens: int) -> Batch:
        """Pictures alone, to be marked: many more than questions can be asked about."""
        number = tokens // len(self.documents.seen(np.zeros(ROWS * COLUMNS, dtype=int)).ids)
        rows = [[self.documents.seen(*picture)] for picture in self._pictures(number)]
        return collate(rows, len(rows[0][0].ids), self.documents.offset)

    def _caption(self, codes: np.ndarray, facts: Facts | None) -> Document:
        said = caption(facts) if facts else talk.OUTSIDE
        return self.documents.caption(codes, said, facts)

    def talk(self, tokens: int) -> Batch:
        rows = []
        for _ in range(tokens // TALK):
            turns = talk.conversation(self.rng, 8, 4, late=self.documents.late)
            rows.append([self.documents.talk(turns, TALK)])
        return collate(rows, TALK, self.documents.offset)
