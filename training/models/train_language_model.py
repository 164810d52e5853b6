"""Train the language model: one process per core, averaged gradients, float32 weights."""

import json
import random
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from training import shown
from training.cells import code_count, piece_shapes, scene_codes
from training.data import SEEN, Batch, Document, Documents, Encode, Mixture, collate
from training.language.facts import facts_of
from training.language.prompts import prompt
from training.language.questions import QUESTIONS, question
from training.marks import MarkHead, in_code_order
from training.models import train_vqgan
from training.models.language_model import Gemma, GemmaConfig
from training.models.muon import Muon, small_state
from training.scenes import random_scene

# Two parts. In each the rate falls to zero; what the first learned least weighs more in the second.
FIRST_STEPS = 6700
STEPS = FIRST_STEPS + 5600
WARM_UP, DECAY_SHARE, LATE_RATE = 60, 0.7, 0.6
MUON_RATE, ADAM_RATE = 0.01, 2.5e-3
TOKENS = 1456  # in one batch
SAVE_SECONDS, REPORT_EVERY, CHECK_EVERY = 240, 20, 400
# What one process learns from in a cycle of eight steps: kind -> steps; and in the second part.
CYCLE = {
    "draw": (0, 2, 4, 5, 6),
    "guided": (3, 7),
    "seen": range(8),
    "talk": (0, 1, 3, 5, 7),
    "wide": (1, 5),
    "look": (0, 2, 4, 6),
}
LATE_CYCLE = CYCLE | {"talk": range(8), "wide": (1,)}
CODE_WEIGHTS = {"draw": 1.0, "guided": 1.0, "wide": 0.8, "talk": 0.8, "seen": 0.0}
WORD_WEIGHTS = {"seen": 1.0, "talk": 0.35}
MARK_WEIGHTS = {"draw": 0.2, "guided": 0.2, "wide": 0.2, "talk": 0.5, "seen": 0.5, "look": 0.5}
# Guidance multiplies the difference of two distributions, and with it what is noise where both are
# sure. So what it makes of them is learned, too, at a random one of these scales.
GUIDANCE, GUIDED_WEIGHT = (1.5, 4.5), 0.5


def half() -> torch.autocast:
    """Products in bfloat16 where the CPU has instructions for it; emulated they would be slow."""
    return torch.autocast("cpu", torch.bfloat16, torch.cpu._is_avx512_bf16_supported())


def rate(step: int, steps: int) -> float:
    """Warm-up, constant, straight down to zero; then, warmed up again, straight down to zero. (A
    restart as in SGDR, arXiv 1608.03983.) A shorter run has the first part alone."""
    first = min(steps, FIRST_STEPS)
    left = first - step
    if left > 0:
        return min(1.0, (step + 1) / WARM_UP, left / (DECAY_SHARE * first))
    return LATE_RATE * min((1 - left) / WARM_UP, (steps - step) / (steps - FIRST_STEPS))


def logits_of(model: Gemma, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Of the learned codes and words of a batch; and the middle's hidden states that have marks.

    What has only marks goes through half of the layers.
    """
    half = not len(batch.codes) and not len(batch.words)
    found = model(batch.ids, batch.positions, batch.mask, half=half)
    hidden, middle = (x.flatten(0, 1) for x in found)
    codes, words = model.code_logits(hidden[batch.codes]), model.word_logits(hidden[batch.words])
    return codes, words, middle[batch.marked]


def guided_loss(codes: Tensor, labels: Tensor, cells: int) -> Tensor:
    """Cross entropy of what guidance makes of pairs: logits [pairs * 2 * cells, codes], and labels,
    of a prompt's picture and of the same one without the prompt."""
    with_prompt, without = codes.unflatten(0, (-1, 2, cells)).unbind(1)
    scale = torch.empty(len(without), 1, 1).uniform_(*GUIDANCE)
    guided = without + scale * (with_prompt - without)
    wanted = labels.view(-1, 2, cells)[:, 0]
    return F.cross_entropy(guided.flatten(0, 1), wanted.flatten())


def _ask(documents: Documents, codes: np.ndarray, facts, kind: str, rng: random.Random) -> Document:
    document = documents.seen(codes, facts)
    for _ in range(6):
        text, answer, _ = question(facts, rng, kind)
        if answer and not documents.ask(document, text, answer, SEEN):
            break
    return document


@torch.no_grad()
def check(model: Gemma, documents: Documents, encode: Encode, seed: int = 1) -> dict[str, object]:
    """On rows of a seed that training does not use: nats per code of prompts, the share of codes
    that are the likeliest, and the share of questions answered exactly, by kind.

    A question counts if every token of its answer is the likeliest behind the right ones, which is
    what greedy decoding would have written.
    """
    rng = random.Random(seed)
    drawn = []
    while len(drawn) < 96:
        asked = prompt(rng)
        document = documents.draw(asked.scene, asked.text)
        if len(document.ids) <= 116:
            drawn.append([document])
    batch = collate(drawn, 116, documents.offset)
    codes, _, _ = logits_of(model, batch)
    figures: dict[str, object] = {
        "nats": round(F.cross_entropy(codes, batch.code_labels).item(), 4),
        "codes": round((codes.argmax(-1) == batch.code_labels).float().mean().item(), 4),
    }
    for where in ("grid", "free"):
        shares = {}
        for kind in QUESTIONS:
            rows = []
            while len(rows) < 10:
                if where == "grid":
                    scene = random_scene(rng, count=rng.choice((1, 2, 2, 3, 4)))
                    shown_codes, facts = scene_codes(scene), facts_of(scene)
                else:
                    picture, facts = shown.free_picture(rng)
                    shown_codes = encode([picture])[0]
                    facts = in_code_order(shown_codes, facts)
                document = _ask(documents, shown_codes, facts, kind, rng)
                if any(document.learned):
                    rows.append([document])
            batch = collate(rows, SEEN, documents.offset)
            _, words, _ = logits_of(model, batch)
            good = words.argmax(-1) == batch.word_labels
            branches = [(n, b) for n, row in enumerate(rows)
                        for b, learned in zip(row[0].branch, row[0].learned, strict=True)
                        if learned]  # fmt: skip
            wrong = {owner for owner, right in zip(branches, good, strict=True) if not right}
            shares[kind] = round(1 - len(wrong) / len(set(branches)), 3)
        figures[where] = shares
    return figures


class Run:
    """One process's share of a training run."""

    def __init__(self, rank: int, world: int, folder: Path, seed: int):
        self.rank, self.world, self.saved = rank, world, folder / "language_model.pt"
        self.documents = Documents(Tokenizer.from_file(str(folder / "tokenizer.json")))
        self.encode = partial(train_vqgan.encode, *train_vqgan.load_encoder(folder))
        self.model = Gemma(GemmaConfig(vocab_size=self.documents.offset + code_count()))
        membership = torch.from_numpy(piece_shapes())
        self.model.model.embed_tokens.membership.copy_(membership)
        self.head = MarkHead(self.model.config.hidden_size)
        self.parameters = [*self.model.parameters(), *self.head.parameters()]
        named = list(self.model.named_parameters())
        matrices = [p for n, p in named if p.dim() == 2 and "embed" not in n]
        others = [p for n, p in named if p.dim() == 1 or "embed" in n]
        others += self.head.parameters()
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, MUON_RATE),
            torch.optim.AdamW(others, ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.done, self.spent = 0, 0.0
        if self.saved.exists():
            state = torch.load(self.saved, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.head.load_state_dict(state["head"])
            for optimizer, loaded in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(loaded)
            self.done, self.spent = state["step"], state["seconds"]
        # A resumed run sees new rows: the seed moves on with the step.
        self.mixture = Mixture(
            self.documents, self.encode, seed + 7919 * self.done + 104729 * (rank + 1)
        )

    def save(self, step: int, seconds: float) -> None:
        state = {
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimizers": [small_state(optimizer) for optimizer in self.optimizers],
            "step": step,
            "seconds": seconds,
        }
        train_vqgan.save(state, self.saved)

    def share_gradients(self) -> None:
        """Average them over the processes, and clip."""
        gradients = torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None])
        dist.all_reduce(gradients)
        gradients *= min(1.0, 1.0 / (gradients.norm().item() + 1e-6))
        start = 0
        for p in self.parameters:
            assert p.grad is not None
            p.grad.copy_(gradients[start : start + p.numel()].view_as(p))
            start += p.numel()

    def learn(self, step: int, losses: dict[str, list[float]]) -> int:
        """One step; how many tokens it took."""
        tokens = 0
        self.documents.late = step >= FIRST_STEPS
        for kind, steps in (LATE_CYCLE if self.documents.late else CYCLE).items():
            if step % 8 not in steps:
                continue
            batch = getattr(self.mixture, kind)(TOKENS)
            with half():
                codes, words, marked = logits_of(self.model, batch)
            loss = torch.zeros(())
            if len(batch.codes):
                each = F.cross_entropy(codes, batch.code_labels)
                losses[kind].append(each.item())
                loss = loss + CODE_WEIGHTS[kind] * each
                if kind in ("guided", "wide"):
                    cells = len(batch.codes) // len(batch.ids)
                    each = guided_loss(codes, batch.code_labels, cells)
                    losses["guidance"].append(each.item())
                    loss = loss + GUIDED_WEIGHT * each
            if len(batch.words):
                each = F.cross_entropy(words, batch.word_labels)
                losses[f"{kind} words"].append(each.item())
                loss = loss + WORD_WEIGHTS[kind] * each
            if len(batch.marked):
                each = self.head.loss(marked, batch.mark_labels)
                losses["marks"].append(each.item())
                loss = loss + MARK_WEIGHTS[kind] * each
            (loss / self.world).backward()
            tokens += batch.ids.numel() * self.world
        self.share_gradients()
        for optimizer in self.optimizers:
            with half():
                optimizer.step()
        for p in self.parameters:
            assert p.grad is not None
            p.grad.zero_()
        return tokens


def _work(rank: int, world: int, folder: str, steps: int, seed: int, compiled: bool) -> None:
    meeting = (Path(folder) / "rendezvous").resolve().as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    work = Run(rank, world, Path(folder), seed)
    if compiled:  # one layer at a time: that takes a sixth of the time
        for layer in work.model.model.layers:
            layer.compile(dynamic=False)
    started = saved = time.time()
    tokens, losses = 0, defaultdict[str, list[float]](list)
    for step in range(work.done, steps):
        for optimizer, top in zip(work.optimizers, (MUON_RATE, ADAM_RATE), strict=True):
            optimizer.param_groups[0]["lr"] = top * rate(step, steps)
        tokens += work.learn(step, losses)
        if rank:
            continue
        now = time.time()
        if (step + 1) % REPORT_EVERY == 0:
            spent = now - started
            left = spent / (step + 1 - work.done) * (steps - step - 1) / 60
            means = " ".join(f"{k} {np.mean(v):.3f}" for k, v in losses.items())
            speed = f"{tokens / spent:.0f} tokens/s, {left:.0f} min left"
            print(f"step {step + 1}/{steps} {means} | {speed}", flush=True)
            losses.clear()
        if (step + 1) % CHECK_EVERY == 0:
            with torch.compiler.set_stance("force_eager"):  # shapes of their own
                figures = check(work.model, work.documents, work.encode)
            print("check:", json.dumps(figures), flush=True)
        if now - saved > SAVE_SECONDS or step + 1 == steps:
            work.save(step + 1, work.spent + now - started)
            saved = now
    dist.destroy_process_group()


def train(
    folder: Path, *, steps: int = STEPS, seed: int = 0, processes: int = 2, compiled: bool = True
) -> None:
    """Train from `folder`/tokenizer.json and encoder.pt into `folder`/language_model.pt, going on
    from it if it is there. Fewer or more `steps` only move the end: the rate falls over the last
    part.
    """
    (folder / "rendezvous").unlink(missing_ok=True)  # of a run that was stopped
    arguments = (processes, str(folder), steps, seed, compiled)
    mp.spawn(_work, arguments, nprocs=processes)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    train(options.folder, steps=options.steps)
