"""Train the language model: one process per core, averaged gradients, bfloat16 matmuls."""

import json
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from tokenizers import Tokenizer

from training import language
from training.cells import code_count
from training.data import Batch, Mixture, Rows, collate
from training.language_model import Gemma, GemmaConfig
from training.muon import Muon
from training.scenes import held_out_scene, unseen_pair_scene

STEPS = 1500
WARM_UP, DECAY_SHARE = 60, 0.6
MUON_RATE, ADAM_RATE = 0.012, 3e-3
SAVE_EVERY, REPORT_EVERY, CHECK_EVERY = 100, 20, 200
LOSS_WEIGHTS = {"draw": 1.0, "questions": 0.4, "captions": 0.15, "chat": 0.03}


def batches(mixture: Mixture, step: int) -> list[tuple[str, Batch]]:
    """What one process learns from in one step."""
    chosen = []
    if step % 8 == 6:
        chosen.append(("draw", mixture.draw(24, wide=True)))
    elif step % 2 == 0:
        chosen.append(("draw", mixture.draw(32)))
    chosen += [("questions", mixture.questions(10)) for _ in range(2 if chosen else 4)]
    if step % 4 == 0:
        chosen.append(("captions", mixture.captions(16)))
    if step % 16 == 1:
        chosen.append(("chat", mixture.chat(16)))
    return chosen


def rate(step: int, steps: int) -> float:
    """Warm-up, constant, then straight down to zero."""
    return min(1.0, (step + 1) / WARM_UP, (steps - step) / (DECAY_SHARE * steps))


def batch_logits(model, head, batch: Batch) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model(batch.ids, batch.positions, batch.mask)
        return head(hidden.flatten(0, 1)[batch.targets])


@torch.no_grad()
def check(model: Gemma, rows: Rows, seed: int = 1) -> dict[str, float]:
    """On held-out scenes: nats per code, and the share of questions answered exactly.

    An answer counts if every token of it is the argmax behind the right ones, which is what
    greedy decoding would have written.
    """
    rng = random.Random(seed)
    figures = {}
    for name, make in (("draw", held_out_scene), ("draw unseen pairs", unseen_pair_scene)):
        scenes = [make(rng, count=rng.choice((1, 2))) for _ in range(64)]
        batch = collate([rows.draw(s, language.caption(s, rng, brief=0)) for s in scenes], 110)
        logits = batch_logits(model, model.head, batch)
        figures[name] = F.cross_entropy(logits, batch.labels).item()
    for kind in ("colour", "shape", "count", "existence", "relation", "size"):
        asked = []
        while len(asked) < 48:
            scene = held_out_scene(rng, count=rng.choice((2, 2, 3)))
            if question := language.question(scene, rng, kind):
                asked.append(rows.questions(scene, [question]))
        batch = collate(asked, 120)
        right = batch_logits(model, model.head, batch).argmax(-1) == batch.labels
        owner = batch.targets // 120
        wrong = {int(row) for row, good in zip(owner, right, strict=True) if not good}
        figures[kind] = 1 - len(wrong) / len(asked)
    return figures


def _work(rank: int, world: int, folder: str, steps: int, seed: int, compiled: bool) -> None:
    meeting = (Path(folder) / "rendezvous").resolve().as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    home = Path(folder)
    rows = Rows(Tokenizer.from_file(str(home / "tokenizer.json")))
    config = GemmaConfig(vocab_size=rows.offset + code_count())
    model = Gemma(config)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() == 1 or "embed" in n]
    optimizers = [
        Muon(matrices, MUON_RATE),
        torch.optim.AdamW(others, ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    saved, done = home / "language_model.pt", 0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, loaded in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(loaded)
        done = state["step"]
    run = torch.compile(model, dynamic=False) if compiled else model
    # A resumed run sees new rows: the seed moves on with the step.
    mixture = Mixture(rows, seed + 7919 * done + 104729 * rank)
    started, tokens, sums = time.time(), 0, dict.fromkeys(LOSS_WEIGHTS, 0.0)
    counts = dict.fromkeys(LOSS_WEIGHTS, 0)
    for step in range(done, steps):
        for optimizer, top in zip(optimizers, (MUON_RATE, ADAM_RATE), strict=True):
            optimizer.param_groups[0]["lr"] = top * rate(step, steps)
        for kind, batch in batches(mixture, step):
            # Chat rows are rare: not worth compiling for their shape.
            logits = batch_logits(model if kind == "chat" else run, model.head, batch)
            loss = F.cross_entropy(logits, batch.labels)
            (loss * LOSS_WEIGHTS[kind] / world).backward()
            sums[kind] += loss.item()
            counts[kind] += 1
            tokens += batch.ids.numel() * world
        gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
        dist.all_reduce(gradients)
        gradients *= min(1.0, 1.0 / (gradients.norm().item() + 1e-6))
        start = 0
        for p in model.parameters():
            p.grad.copy_(gradients[start : start + p.numel()].view_as(p))
            start += p.numel()
        for optimizer in optimizers:
            optimizer.step()
        for p in model.parameters():
            p.grad.zero_()
        if rank:
            continue
        if (step + 1) % REPORT_EVERY == 0:
            spent = time.time() - started
            left = spent / (step + 1 - done) * (steps - step - 1)
            losses = " ".join(f"{k} {sums[k] / counts[k]:.3f}" for k in sums if counts[k])
            print(
                f"step {step + 1}/{steps} {losses} | {tokens / spent:.0f} tokens/s, "
                f"{left / 60:.0f} min left",
                flush=True,
            )
            sums, counts = dict.fromkeys(sums, 0.0), dict.fromkeys(counts, 0)
        if (step + 1) % CHECK_EVERY == 0:
            print("held out:", json.dumps(check(model, rows)), flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "step": step + 1,
            }
            torch.save(state, saved.with_suffix(".part"))
            saved.with_suffix(".part").replace(saved)
    dist.destroy_process_group()


def train(
    folder: Path, *, steps: int = STEPS, seed: int = 0, processes: int = 2, compiled: bool = True
) -> None:
    """Train from `folder`/tokenizer.json into `folder`/language_model.pt, going on from it if it
    is there. Fewer or more `steps` only move the end: the rate falls over the last part.
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
