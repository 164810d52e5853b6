"""A server of two processes that hold one model together answers like one of one process."""

from __future__ import annotations

import base64
import io
import os
import pickle
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import OpenAI

from liquid_mlx.errors import DistributedError
from liquid_mlx.model import Liquid
from liquid_mlx.params import TextParams
from liquid_mlx.server import jobs, requests
from liquid_mlx.server import several as several_server
from tests.distributed.launch import LIQUID, ended, started
from tests.server.conftest import picture
from tests.server.test_openai import QUESTION, asked

Several = tuple[list["subprocess.Popen[str]"], str]


@contextmanager
def several(model: str, folder: Path, *options: str) -> Iterator[Several]:
    """The processes, and the address."""
    command = [*LIQUID, "serve", "--model", model, "--port", "0", *options]
    with started([command] * 2, folder) as processes:
        assert processes[0].stderr is not None
        timer = threading.Timer(240, processes[0].kill)
        timer.start()
        line = processes[0].stderr.readline()
        timer.cancel()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield processes, found[0]


@contextmanager
def client_of(url: str) -> Iterator[OpenAI]:
    with httpx.Client(verify=False, trust_env=False, timeout=240) as http:
        yield OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=http)


def test_rank_0_answers_as_one_process_does_and_ends_the_other(
    folder: str, liquid: Liquid, photo: bytes, photo_url: str, tmp_path: Path
) -> None:
    with (
        several(folder, tmp_path, "--tensor-parallel") as (processes, url),
        client_of(url) as client,
    ):

        def draw(prompt: str) -> np.ndarray:
            made = client.images.generate(prompt=prompt, extra_body={"seed": 7})
            return np.asarray(picture(made.data[0].b64_json))

        def chat() -> str:
            made = client.chat.completions.create(model="", messages=asked(photo_url), max_tokens=6)
            return made.choices[0].message.content or ""

        with ThreadPoolExecutor() as pool:  # they share batches
            drawn = [pool.submit(draw, prompt) for prompt in ("a boat", "a red circle")]
            said = pool.submit(chat)
        for prompt, one in zip(("a boat", "a red circle"), drawn, strict=True):
            expected = liquid.generate_image(prompt, seed=7)[0].image
            np.testing.assert_array_equal(one.result(), np.asarray(expected))
        assert said.result() == liquid.answer(photo, QUESTION, max_tokens=6)

        # What is given up, and what is wrong, keeps the two together.
        with client.images.generate(prompt="a boat", stream=True, partial_images=3) as stream:
            next(iter(stream))
        with pytest.raises(Exception, match="too long"):
            client.completions.create(model="", prompt="a boat " * 4000, max_tokens=1)
        np.testing.assert_array_equal(draw("a boat"), drawn[0].result())

        processes[0].send_signal(signal.SIGTERM)
        first, second = ended(processes)
        assert first.code in (0, 128 + signal.SIGTERM, -signal.SIGTERM), first
        assert (second.code, second.out, second.err) == (0, "", "")
        assert "Traceback" not in first.err


@pytest.mark.slow
def test_edits_variations_choices_and_captions_with_layers_on_each(
    folder: str, liquid: Liquid, photo: bytes, photo_url: str, tmp_path: Path
) -> None:
    with several(folder, tmp_path, "--pipeline-parallel", "auto") as (_, url):
        with httpx.Client(base_url=url, verify=False, trust_env=False, timeout=240) as http:
            files, fields = {"image": photo}, {"seed": "3", "strength": "0.5"}
            varied = http.post("/v1/images/variations", files=files, data=fields).json()
            body = {"image": photo_url, "max_tokens": 5}
            caption = http.post("/v1/captions", json=body).json()["text"]
            body = {"image": photo_url, "question": QUESTION, "choices": ["a boat", "red"]}
            chosen = http.post("/v1/choices", json=body).json()["choices"]
        expected = liquid.vary(photo, strength=0.5, seed=3)[0].image
        drawn = np.asarray(picture(varied["data"][0]["b64_json"]))
        np.testing.assert_array_equal(drawn, np.asarray(expected))
        assert caption == liquid.caption(photo, max_tokens=5)
        shares = liquid.choose(photo, QUESTION, ["a boat", "red"])
        assert {one["text"]: one["probability"] for one in chosen} == pytest.approx(
            shares, abs=1e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_where_one_process_dies_the_other_ends_with_a_sentence(
    which: int, folder: str, tmp_path: Path
) -> None:
    with (
        several(folder, tmp_path, "--tensor-parallel") as (processes, url),
        client_of(url) as client,
    ):
        client.completions.create(model="", prompt="a boat", max_tokens=1)
        processes[which].kill()
        other = ended(processes, 30)[1 - which]
        assert other.code == 1
        assert "Another process has ended" in other.err.splitlines()[-1]
        assert "Traceback" not in other.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "add --tensor-parallel"),
        (["--tensor-parallel", "--keep-alive", "5"], "serve one --model"),
        (["--tensor-parallel", "--dtype", "float8"], "Unknown dtype"),
    ],
)
def test_what_several_processes_cannot_serve_ends_them_all(
    options: list[str], expected: str, folder: str, tmp_path: Path
) -> None:
    command = [*LIQUID, "serve", "--model", folder, "--port", "0", *options]
    with started([command] * 2, tmp_path) as processes:
        first, second = ended(processes, 60)
    assert first.code in (1, 2)
    assert second.code in (1, 2)
    assert expected in " ".join(first.err.split())
    assert second.err == ""


def test_jobs_can_be_told_to_other_processes(converted: Callable[..., Path]) -> None:
    import pickle

    from liquid_mlx.params import TextParams
    from liquid_mlx.server import jobs
    from liquid_mlx.server.requests import Edit, PictureSettings, TextSettings, Turn

    settings, text = PictureSettings(), TextSettings(TextParams(max_new_tokens=1))
    for job in (
        jobs.draw(0, "a", 1, settings),
        jobs.edit("a", 1, 1, Edit(b"png", mask=b"png"), settings),
        jobs.vary(b"png", None, seed=1, count=1, strength=0.5, settings=settings),
        jobs.answer([Turn("user", [])], 1, text),
        jobs.complete([1, 2], 1, True, 0, text),
    ):
        assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301


@pytest.mark.parametrize(
    "told", [os.system, os.getcwd, base64.b64decode, jobs.partial_rows, several_server.lead]
)
def test_nothing_but_jobs_is_read_from_another_process(told: object) -> None:
    with pytest.raises(DistributedError, match="no job"):
        several_server._Orders(io.BytesIO(pickle.dumps(([], [(0, "", "text", told)])))).load()


def test_jobs_are_read_as_they_were_told() -> None:
    settings = requests.TextSettings(TextParams(max_new_tokens=3), stop=("x",))
    turns = [requests.Turn("user", [requests.Part(text="hello"), requests.Part(picture=b"abc")])]
    told = [1], [(2, "demo", "text", jobs.answer(turns, 7, settings))]
    assert several_server._Orders(io.BytesIO(pickle.dumps(told))).load() == told
