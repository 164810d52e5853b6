"""The server under load: ``python -m benchmarks.serving [PART ...] [--json FILE]``.

    load        16 clients for two minutes: is every answer the one that is drawn alone?
    throughput  8 pictures at once, and one by one
    first       seconds to the first token of a short chat: alone, and beside two pictures
    memory      the server's memory over 500 requests

The server is a process of its own, with float32, as users start it; the clients are threads of
this one. ``--share 0.02`` makes everything that much shorter, to try it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np

from benchmarks.loops.side_by_side import OPENBLAS, machine

CLIENTS, SECONDS, REQUESTS = 16, 120, 500
PICTURES = 8
PASSING = {"id", "created", "created_at"}  # of an answer: what no two have in common
NEAR = 1e-3  # of log-probabilities and probabilities, which are sums in another order
DRAW, CHAT = "/v1/images/generations", "/v1/chat/completions"
SHAPES = ("a red circle", "a blue star", "a green square", "a pink heart")


@dataclass(frozen=True)
class Ask:
    """A request: JSON, or a form with a picture."""

    kind: str
    path: str
    body: dict[str, Any]
    picture: bytes | None = None

    def send(self, http: httpx.Client) -> Any:
        """The answer without what changes from one time to the next."""
        if self.picture is None:
            answer = http.post(self.path, json=self.body)
        else:
            form = {name: str(value) for name, value in self.body.items()}
            files = {"image": ("picture.png", self.picture)}
            answer = http.post(self.path, data=form, files=files)
        answer.raise_for_status()
        return told(events(answer.text) if self.body.get("stream") else answer.json())


def events(text: str) -> list[Any]:
    """The data of a stream's events; one that ends without its last event is an error."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    found = [json.loads(line) for line in lines if line != "[DONE]"]
    if "[DONE]" not in lines and not str(found[-1].get("type")).endswith(".completed"):
        raise ValueError(f"The stream has broken off: {str(found[-1])[:200]}")
    return found


def told(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: told(one) for name, one in value.items() if name not in PASSING}
    return [told(one) for one in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Equal, but for the rounding of numbers."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= NEAR
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class Server:
    """``liquid serve`` as a process."""

    def __init__(self, model: str, threads: int | None):
        environment = dict(os.environ)
        if OPENBLAS.exists():
            environment["LD_PRELOAD"] = str(OPENBLAS)
        if threads:
            environment["OPENBLAS_NUM_THREADS"] = str(threads)
        command = ["liquid_mlx", "serve", "--port", "0", "--dtype", "float32", "--model"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command, model],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"http://\S+", line)
        if not found:
            raise SystemExit(f"The server did not start: {line}")
        self.url = found[0]
        threading.Thread(target=self._process.stderr.read, daemon=True).start()  # its log
        with self.client() as http:
            while http.get("/health").status_code != 200:
                time.sleep(0.1)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=600, trust_env=False, verify=False)

    def megabytes(self) -> float:
        """Memory that the process has in RAM."""
        command = ["ps", "-o", "rss=", "-p", str(self._process.pid)]
        return int(subprocess.check_output(command)) / 1024

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def mixture(http: httpx.Client) -> list[Ask]:
    """Requests of every kind, pictures and short answers in about equal numbers."""
    (model, *_) = http.get("/v1/models").json()["data"]
    rows = int(model["sizes"][0].split("x")[1]) // model["pixels_per_code"]
    drawn = http.post(DRAW, json={"prompt": f"{SHAPES[0]} on a white background", "seed": 1})
    data = drawn.json()["data"][0]["b64_json"]
    file, url = b64decode(data), f"data:image/png;base64,{data}"
    asks = []
    for seed, shape in enumerate(SHAPES):
        prompt = {"prompt": f"{shape} on a white background", "seed": seed}
        chat = {"messages": [{"role": "user", "content": f"What is {shape}?"}], "max_tokens": 12}
        seen = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": f"Is it {shape}?"},
        ]
        asks += [
            Ask("picture", DRAW, prompt),
            Ask("picture, streamed", DRAW, {**prompt, "stream": True, "partial_images": 2}),
            Ask("two pictures", DRAW, {**prompt, "n": 2, "guidance": 3.0}),
            Ask("best of two", DRAW, {**prompt, "best_of": 2}),
            Ask("edit", "/v1/images/edits", {**prompt, "keep_rows": rows // 2}, file),
            Ask("variation", "/v1/images/variations", {**prompt, "strength": 0.5}, file),
            Ask("chat", CHAT, chat),
            Ask("chat, streamed", CHAT, {**chat, "stream": True}),
            Ask("chat, sampled", CHAT, {**chat, "temperature": 1.0, "seed": seed, "n": 2}),
            Ask("chat, logprobs", CHAT, {**chat, "logprobs": True, "top_logprobs": 3}),
            Ask("question", CHAT, {"messages": [{"role": "user", "content": seen}]}),
            Ask("scores", "/v1/completions", {**prompt, "echo": True, "logprobs": 1}),
            Ask("caption", "/v1/captions", {"image": url}),
            Ask(
                "choices",
                "/v1/choices",
                {"image": url, "question": "What is it?", "choices": list(SHAPES)},
            ),
        ]
    return asks


@contextmanager
def pool(number: int, server: Server) -> Iterator[tuple[ThreadPoolExecutor, list[httpx.Client]]]:
    """So many clients, each with a connection of its own."""
    clients = [server.client() for _ in range(number)]
    try:
        with ThreadPoolExecutor(number) as threads:
            yield threads, clients
    finally:
        for client in clients:
            client.close()


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))


def measure_load(server: Server, share: float) -> dict[str, Any]:
    """Every client sends what it likes, one request after another, until the time is over."""
    with server.client() as http:
        asks = mixture(http)
        alone = [ask.send(http) for ask in asks]
    took: dict[str, list[float]] = {ask.kind: [] for ask in asks}
    different: list[str] = []
    failed: list[str] = []

    def run(client: httpx.Client, number: int) -> None:
        chosen = random.Random(number)
        while time.monotonic() < end:
            which = chosen.randrange(len(asks))
            ask = asks[which]
            try:
                seconds, answer = timed(lambda ask=ask: ask.send(client))
            except (httpx.HTTPError, ValueError) as error:
                failed.append(f"{ask.kind}: {error}")
                continue
            took[ask.kind].append(seconds)
            if not same(answer, alone[which]):
                different.append(f"{ask.kind} {ask.body.get('seed')}")

    with pool(CLIENTS, server) as (threads, clients):
        start = time.monotonic()
        end = start + SECONDS * share
        list(threads.map(run, clients, range(CLIENTS)))
    seconds, number = time.monotonic() - start, sum(map(len, took.values()))
    return {
        "clients": CLIENTS,
        "seconds": seconds,
        "answers": number,
        "answers_per_second": number / seconds,
        "different": different,
        "failed": failed,
        "kinds": {
            kind: {"answers": len(times), "median_s": median(times), "p95_s": p95(times)}
            for kind, times in took.items()
            if times
        },
    }


def measure_throughput(server: Server, share: float) -> dict[str, Any]:
    """Pictures of different prompts and seeds: at once, and one by one, in turns."""
    prompts = [f"{shape} on a white background" for shape in SHAPES]
    asks = [
        Ask("picture", DRAW, {"prompt": prompts[seed % len(prompts)], "seed": seed})
        for seed in range(PICTURES)
    ]
    alone, together = [], []
    equal = True
    with pool(PICTURES, server) as (threads, clients):
        for i in range(1 + max(1, round(9 * share))):
            one, first = timed(lambda: [ask.send(clients[0]) for ask in asks])
            many, second = timed(lambda: list(threads.map(Ask.send, asks, clients)))
            equal &= same(first, second)
            if i:  # the first round warms up
                alone.append(one)
                together.append(many)
    ratios = [one / many for one, many in zip(alone, together, strict=True)]
    return {
        "pictures": PICTURES,
        "rounds": len(ratios),
        "one_by_one_s": median(alone),
        "together_s": median(together),
        "ratio": median(ratios),
        "equal": equal,
    }


def first_token(http: httpx.Client, text: str) -> float:
    """Seconds until an answer's first text."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 8, "stream": True}
    start, found = time.perf_counter(), None
    with http.stream("POST", CHAT, json=body) as answer:
        for line in answer.iter_lines():
            if found is None and line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    found = time.perf_counter() - start
    if found is None:
        raise ValueError(f"The answer to {text!r} has no text.")
    return found


def measure_first(server: Server, share: float) -> dict[str, Any]:
    """Short chats one after another at random moments, without pictures and beside two."""
    number, moments = max(5, round(200 * share)), random.Random(0)
    over = threading.Event()
    begun = [threading.Event() for _ in range(2)]

    def keep_drawing(client: httpx.Client, which: int) -> int:
        drawn = 0
        while not over.is_set():
            ask = Ask("picture", DRAW, {"prompt": SHAPES[which], "seed": drawn})
            ask.send(client)
            begun[which].set()
            drawn += 1
        return drawn

    def chats() -> list[float]:
        found = []
        for i in range(number):
            time.sleep(moments.uniform(0, 0.05))
            found.append(first_token(http, f"What is {SHAPES[i % len(SHAPES)]}, number {i}?"))
        return found

    with pool(3, server) as (threads, (http, *others)):
        chats()
        alone = chats()
        drawing = [threads.submit(keep_drawing, one, i) for i, one in enumerate(others)]
        for event in begun:
            event.wait()
        beside = chats()
        over.set()
        drawn = sum(one.result() for one in drawing)
    return {
        "chats": number,
        "pictures": drawn,
        "alone_median_s": median(alone),
        "alone_p95_s": p95(alone),
        "beside_median_s": median(beside),
        "beside_p95_s": p95(beside),
        "ratio_p95": p95(beside) / p95(alone),
    }


def measure_memory(server: Server, share: float) -> dict[str, Any]:
    """Four clients send mixed requests; the process is weighed ten times, between requests."""
    each = max(4, round(REQUESTS / 10 * share))
    chosen = random.Random(0)
    with server.client() as http:
        asks = mixture(http)
        weights = [server.megabytes()]
    with pool(4, server) as (threads, clients):
        for _ in range(10):
            some = [chosen.choice(asks) for _ in range(each)]
            list(threads.map(Ask.send, some, (clients * each)[:each]))
            weights.append(server.megabytes())
    return {
        "requests": 10 * each,
        "megabytes": weights,
        "growth_mb": weights[-1] - weights[len(weights) // 2],  # over the second half
    }


PARTS: dict[str, Callable[[Server, float], dict[str, Any]]] = {
    "load": measure_load,
    "throughput": measure_throughput,
    "first": measure_first,
    "memory": measure_memory,
}


def show(part: str, found: dict[str, Any]) -> None:
    """A table for people."""
    print(f"\n{part}: {PARTS[part].__doc__}\n")
    kinds = found.get("kinds", {})
    rows = [(name, value) for name, value in found.items() if name != "kinds"]
    print("| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name.replace('_', ' ')} | {_short(value)} |")
    if kinds:
        print("\n| request | answers | median s | 95 % within s |\n|---|---|---|---|")
    for kind, row in kinds.items():
        print(f"| {kind} | {row['answers']} | {row['median_s']:.2f} | {row['p95_s']:.2f} |")
    sys.stdout.flush()


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, list):
        return " ".join(map(_short, value[:12])) or "none"
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--share", type=float, default=1.0, help="of the time and the requests")
    parser.add_argument("--threads", type=int, help="of OpenBLAS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(unknown)}")
    every: dict[str, Any] = {"machine": machine(), "model": arguments.model}
    print(every["machine"])
    for part in arguments.parts or PARTS:
        server = Server(arguments.model, arguments.threads)  # a new one each: its memory counts
        try:
            every[part] = PARTS[part](server, arguments.share)
        finally:
            server.close()
        show(part, every[part])
    if arguments.json:
        arguments.json.write_text(json.dumps(every, indent=1) + "\n")


if __name__ == "__main__":
    main()
