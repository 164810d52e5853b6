"""The model on this device: what it draws, sees and says, from which threads, and how fast."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np

from liquid_mlx.doctor.checks import Check, Subject, WrongError
from liquid_mlx.doctor.stored import PROMPTS, colours
from liquid_mlx.model import load

SEEN = 0.97  # share of codes that an encoder whose float32 rounds otherwise must find again


def drawing(subject: Subject) -> list[Check]:
    """The model in float32 against what its maker's CPU drew, saw and answered."""

    def draw() -> str:
        parted: list[str] = []
        for made in subject.stored["drawn"]:
            codes = subject.liquid.generate_image(made["prompt"], seed=made["seed"])[0].codes
            places = np.flatnonzero(codes.reshape(-1) != np.ravel(made["codes"]))
            parted += [f"from {places[0]} of {codes.size} on"] if len(places) else []
        drawn = len(subject.stored["drawn"])
        found = f"{drawn - len(parted)} of {drawn} drawings have the stored codes"
        if parted:
            found += f", others not {', '.join(parted)}"
        if len(parted) > drawn // 4:  # one may part at a near-tie
            raise WrongError(found)
        return found

    def decode() -> str:
        off = 0
        for made in subject.stored["drawn"]:
            shown = colours(subject.liquid.decode(np.array(made["codes"])), made["codes"])
            off = max(off, int(np.abs(shown - np.array(made["colours"])).max()))
        if off > 2:
            raise WrongError(f"colours are up to {off} of 255 off")
        return f"colours are at most {off} of 255 off"

    def encode() -> str:
        pairs = [
            (subject.liquid.encode(subject.liquid.decode(np.array(made["codes"]))), made["seen"])
            for made in subject.stored["drawn"]
        ]
        share = float(np.mean([a == np.array(b) for a, b in pairs]))
        if share < SEEN:
            raise WrongError(f"{share:.1%} of the codes of seen pictures are the stored ones")
        return f"{share:.1%} of the codes of seen pictures are the stored ones"

    def answer() -> str:
        made = subject.stored["drawn"][0]
        picture = subject.liquid.decode(np.array(made["codes"]))
        for question, expected in subject.stored["answers"].items():
            said = subject.liquid.answer(picture, question, max_tokens=8)
            if said != expected:
                raise WrongError(f"to {question!r} it says {said!r}, not {expected!r}")
        return "the stored answers"

    steps = {"drawing": draw, "decoding": decode, "encoding": encode, "answers": answer}
    return [Check("the model, float32", name, run) for name, run in steps.items()]


def threads(subject: Subject) -> list[Check]:
    """Streams belong to threads in MLX: nothing lazy may cross them."""

    def codes() -> bytes:
        picture = subject.liquid.generate_image(PROMPTS[0], seed=1)[0]
        return picture.codes.tobytes()

    def second() -> str:
        here = codes()
        with ThreadPoolExecutor(1) as pool:
            if pool.submit(codes).result() != here:
                raise WrongError("a second thread draws another picture")
        return "a second thread draws the same picture"

    def given_up() -> str:
        here = codes()

        def start(steps: int) -> None:
            drawn = subject.liquid.stream_image(PROMPTS[1], seed=2)
            for _ in range(steps):
                next(drawn)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(start, range(8)))
        if codes() != here:
            raise WrongError("after drawings that were given up another picture comes out")
        return "drawings given up in four threads leave the next one right"

    return [Check("threads", "a second thread", second), Check("threads", "giving up", given_up)]


def speed(subject: Subject) -> list[Check]:
    """Not judged: figures to compare machines by."""

    def drawn() -> str:
        liquid = load(subject.folder)
        times = []
        for seed in range(4):  # the first does not count
            start = time.perf_counter()
            (picture,) = liquid.generate_image(PROMPTS[0], seed=seed)
            times.append(time.perf_counter() - start)
        seconds = float(np.median(times[1:]))
        dtype = picture.settings.dtype
        return (
            f"{1e3 * seconds:.0f} ms an image, {1e3 * seconds / picture.codes.size:.2f} ms a step "
            f"in {dtype}, peak {mx.get_peak_memory() / 1e9:.2f} GB"
        )

    return [Check("speed", "an image", drawn)]
