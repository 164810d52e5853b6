"""What a picture shows, said at the codes themselves: a help for the reader, in training only.

A question teaches a few bits about a picture of 64 codes. So at the last code of each thing, and
behind the picture, a linear head on the middle of the network names what has been seen by then.
Upper layers find those facts there when a question asks for them. The head is not exported.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.cells import tone_codes
from training.language.facts import FAR, NEAR, Fact, Facts
from training.world import BACKGROUNDS, COLOURS, ROWS, SHAPES, STYLES

# A thing's shape, place across and down, size; things so far (5: no shapes at all); the background.
GROUPS = (len(SHAPES), 3, 3, 2, 6, len(BACKGROUNDS), len(STYLES))
UNKNOWN = -100
OUTSIDE = 5
Mark = tuple[int, tuple[int, ...]]  # index of a code (or of what follows the codes), labels


def _third(share: float) -> int:
    return (share > NEAR) + (share > FAR)


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
        return [(codes.size, (*[UNKNOWN] * 4, OUTSIDE, UNKNOWN, UNKNOWN))]
    square = codes.reshape(ROWS, -1)
    ends = [(_last_cell(square, thing), thing) for thing in facts.things]
    known = sorted(((cell, t) for cell, t in ends if cell is not None), key=lambda end: end[0])
    found: list[Mark] = []
    for number, (cell, thing) in enumerate(known):
        size = ("small", "large").index(thing.size)
        labels = (SHAPES.index(thing.shape), _third(thing.x), _third(thing.y), size)
        found.append((cell, (*labels, number + 1, UNKNOWN, UNKNOWN)))
    ground = list(BACKGROUNDS).index(facts.background)
    behind = (*[UNKNOWN] * 4, len(facts.things), ground, STYLES.index(facts.style))
    return [*found, (codes.size, behind)]


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
