"""What a picture shows, said at the codes themselves: a help for the reader, in training only.

A question teaches a few bits about a picture of 64 codes. So at the last code of each thing, and
behind the picture, a linear head on the middle of the network names what has been seen by then.
Where a question names a thing ("the star"), it names that thing's colour, place and size: whoever
answers must have looked there. Where a picture is to begin, it names what the prompt asks for,
which the codes say only here and there, and, late in a training, what each of its things is to be.
Upper layers find those facts when they need them. The head is not exported.
"""

import re
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.cells import tone_codes
from training.language.facts import Fact, Facts, differ_in_size, third
from training.world import BACKGROUNDS, COLOURS, ROWS, SHAPES, STYLES

# A thing's shape, place across and down, size; things so far (5: no shapes at all); the background;
# a thing's colour. Then the plan of a picture: shape and colour of each of its things, in order.
_ONE = (len(SHAPES), 3, 3, 2, 6, len(BACKGROUNDS), len(STYLES), len(COLOURS))
_PLAN = (len(SHAPES), len(COLOURS)) * 4
GROUPS = _ONE + _PLAN
UNKNOWN = -100
OUTSIDE = 5
_NO_PLAN = (UNKNOWN,) * len(_PLAN)
Mark = tuple[int, tuple[int, ...]]  # index of a code (or of what follows the codes), labels


_NAMES = re.compile(rf"\b(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})\b")
_COLOURS = re.compile(rf"\b({'|'.join(COLOURS)})\b(?! (?:{'|'.join(SHAPES)})\b)")


_SIZES = re.compile(r"\b(largest|biggest|larger|bigger|smallest|tiniest|smaller)\b")


def _last_cell(codes: np.ndarray, thing: Fact) -> int | None:
    """The last piece in raster order in a thing's box, of its colour if there is one."""
    rows, columns = codes.shape
    down, across = np.mgrid[0:rows, 0:columns]
    reach = thing.side / 2 + 0.4 / ROWS
    inside = abs((across + 0.5) / columns - thing.x) < reach
    inside &= abs((down + 0.5) / rows - thing.y) < reach
    first = len(tone_codes()[1])
    pieces = inside & (codes >= first)
    own = pieces & ((codes - first) % len(COLOURS) == list(COLOURS).index(thing.colour))
    found = np.flatnonzero(own if own.any() else pieces)
    return int(found[-1]) if len(found) else None


def marks(codes: np.ndarray, facts: Facts | None) -> list[Mark]:
    """Of a picture's codes [64], with what is in it; None is a picture that shows no shapes."""
    if facts is None:
        return [(codes.size, (*[UNKNOWN] * 4, OUTSIDE, *[UNKNOWN] * 3, *_NO_PLAN))]
    square = codes.reshape(ROWS, -1)
    ends = [(_last_cell(square, thing), thing) for thing in facts.things]
    known = sorted(((cell, t) for cell, t in ends if cell is not None), key=lambda end: end[0])
    found: list[Mark] = []
    for number, (cell, thing) in enumerate(known):
        found.append((cell, _labels(thing, number + 1)))
    return [*found, (codes.size, (*[UNKNOWN] * 4, *_whole(facts), UNKNOWN, *_NO_PLAN))]


def asked_for(facts: Facts, *, plan: bool = False) -> tuple[int, ...]:
    """Of a picture that is yet to be drawn: what all its things share, how many, and on what; with
    `plan` also what each of them is."""
    each = [_labels(thing)[: len(_ONE)] for thing in facts.things] or [(UNKNOWN,) * len(_ONE)]
    shared = [v[0] if len(set(v)) == 1 else UNKNOWN for v in zip(*each, strict=True)]
    planned: list[int] = []
    for thing in facts.things if plan else ():
        planned += (SHAPES.index(thing.shape), list(COLOURS).index(thing.colour))
    planned += [UNKNOWN] * (len(_PLAN) - len(planned))
    return (*shared[:4], *_whole(facts), shared[-1], *planned)


def _whole(facts: Facts) -> tuple[int, int, int]:
    """How many things there are, the background and its style."""
    ground = list(BACKGROUNDS).index(facts.background)
    return len(facts.things), ground, STYLES.index(facts.style)


def in_code_order(codes: np.ndarray, facts: Facts) -> Facts:
    """The facts with the things in the order of their last codes [64]."""
    square = codes.reshape(ROWS, -1)

    def end(thing: Fact) -> int:
        cell = _last_cell(square, thing)
        return codes.size if cell is None else cell

    return replace(facts, things=tuple(sorted(facts.things, key=end)))


def _labels(thing: Fact, number: int = UNKNOWN) -> tuple[int, ...]:
    size = ("small", "large").index(thing.size)
    place = third(thing.x), third(thing.y)
    colour = list(COLOURS).index(thing.colour)
    return (SHAPES.index(thing.shape), *place, size, number, UNKNOWN, UNKNOWN, colour, *_NO_PLAN)


def named(question: str, facts: Facts) -> list[Mark]:
    """Where a question names the only thing of its name: (index behind the name's last letter,
    labels)."""
    text, found = question.lower(), []
    for match in _NAMES.finditer(text):
        things = [t for t in facts.things if t.shape == match[2] and match[1] in (None, t.colour)]
        found.append((match.end(), things))
    for match in _COLOURS.finditer(text):
        found.append((match.end(), [t for t in facts.things if t.colour == match[1]]))
    for match in _SIZES.finditer(text):
        found.append((match.end(), _extreme(facts, match[1])))
    return [(end, _labels(things[0])) for end, things in found if len(things) == 1]


def _extreme(facts: Facts, word: str) -> list[Fact]:
    """The largest thing, or the larger of two, for example; none if it is hard to say."""
    things = sorted(facts.things, key=lambda thing: thing.side)
    if len(things) < 2 or (word.endswith("er") and len(things) > 2):
        return []
    if word in ("largest", "biggest", "larger", "bigger"):
        things.reverse()
    return things[:1] if differ_in_size(things[0], things[1]) else []


class MarkHead(nn.Module):
    """Reads marks off hidden states."""

    def __init__(self, hidden: int):
        super().__init__()
        self.linear = nn.Linear(hidden, sum(GROUPS))

    def loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy of the known labels; hidden [N, hidden], labels int64 [N, groups]."""
        scores = self.linear(F.rms_norm(hidden, hidden.shape[-1:]))
        parts = zip(scores.split(GROUPS, dim=-1), labels.unbind(-1), strict=True)
        lost = [
            F.cross_entropy(score, label, ignore_index=UNKNOWN, reduction="sum")
            for score, label in parts
        ]
        return torch.stack(lost).sum() / (labels != UNKNOWN).sum().clamp(min=1)
