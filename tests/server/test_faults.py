"""Clients that vanish, queues that are full, models that fail: the server goes on, and says so."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from liquid_mlx.server.app import Limits, Options
from liquid_mlx.server.batch import Batch
from tests.server.conftest import picture, serving

DRAW = "/v1/images/generations"
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


def request(path, body):
    """The bytes of a request."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def send(served, path, body):
    """A connection that has sent a request."""
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
    connection.sendall(request(path, body))
    return connection


def settle(served, seconds=60):
    """Wait until nothing runs or waits any more."""
    end = time.monotonic() + seconds
    scheduler = served.state.scheduler
    while (scheduler.running or scheduler.waiting) and time.monotonic() < end:
        time.sleep(0.01)
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    assert all(model.batch.sequences == [] for model in served.state.models.loaded.values())


def test_work_ends_when_clients_vanish_at_any_moment(served, liquid):
    moments = np.random.default_rng(0)
    before = served.state.metrics.cancelled
    for i in range(16):
        path, body = (DRAW, {"prompt": "a boat", "n": 2}) if i % 2 else (CHAT, HELLO)
        whole = {**body, "stream": bool(i % 3), "partial_images": 4, "max_tokens": 500}
        with send(served, path, whole) as connection:
            if i % 3:
                connection.recv(int(moments.integers(1, 3000)))
            else:
                time.sleep(float(moments.uniform(0, 0.05)))
    settle(served)
    assert served.state.metrics.cancelled > before
    made = served.post(DRAW, {"prompt": "a boat", "seed": 7}).json()
    (expected,) = liquid.generate_image("a boat", seed=7)
    assert picture(made["data"][0]["b64_json"]).tobytes() == expected.image.tobytes()


def test_half_requests_and_slow_readers_hold_up_nobody(served, caplog):
    head = f"POST {DRAW} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    halves = [b"", b"POST", head.encode(), f"{head}Content-Length: 99\r\n\r\n{{".encode()]
    open_ones = []
    for half in halves:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(half)
        open_ones.append(connection)
    open_ones.append(send(served, DRAW, {"prompt": "a", "stream": True, "partial_images": 9}))
    assert served.post(CHAT, HELLO).status_code == 200
    for connection in open_ones:
        connection.close()
    settle(served)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_full_queue_refuses_with_a_time_to_come_back(folder):
    with serving([folder], Options(limits=Limits(waiting=2))) as small:
        with ThreadPoolExecutor(24) as pool:
            body = {"prompt": "a boat", "seed": 7, "guidance": 2}
            answers = list(pool.map(lambda _: small.post(DRAW, body), range(24)))
        settle(small)
        full = [answer for answer in answers if answer.status_code == 503]
        done = [answer for answer in answers if answer.status_code == 200]
        assert len(full) + len(done) == 24
        assert full
        assert {answer.json()["error"]["code"] for answer in full} == {"overloaded"}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in full)
        assert len({answer.json()["data"][0]["b64_json"] for answer in done}) == 1  # as alone
        assert small.state.metrics.refused == len(full)


def test_a_short_answer_does_not_wait_for_pictures(served):
    with send(served, DRAW, {"prompt": "a boat", "n": 8, "stream": True}) as connection:
        while not served.state.scheduler.running:
            time.sleep(0.001)
        answer = served.post(CHAT, {**HELLO, "max_tokens": 1})
        assert answer.status_code == 200
        assert served.state.scheduler.running  # the pictures are not done yet
        connection.recv(1)
    settle(served)


def test_a_model_that_cannot_be_loaded_is_named_and_the_others_work(folder, copy_of):
    damaged = copy_of(Path(folder))
    weights = next(damaged.glob("model*.safetensors"))
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    broken = damaged.rename(damaged.with_name("broken"))
    with serving([str(broken), folder], Options()) as both:
        answer = both.post(CHAT, {**HELLO, "model": "broken"})
        assert answer.status_code == 503
        assert answer.headers["x-should-retry"] == "false"
        assert str(broken) not in answer.text
        assert both.get("/health").json()["failed"] == ["broken"]
        assert both.post(CHAT, {**HELLO, "model": Path(folder).name}).status_code == 200


def test_an_idle_model_is_dropped_and_loaded_again(folder):
    with serving([folder], Options(), keep_alive=0.2) as running:
        before = running.post(CHAT, HELLO).json()["choices"]
        end = time.monotonic() + 30
        while running.state.models.loaded and time.monotonic() < end:
            time.sleep(0.02)
        assert running.state.models.loaded == {}
        assert running.post(CHAT, HELLO).json()["choices"] == before


def test_a_failure_in_a_step_ends_its_requests_alone(served, monkeypatch, caplog):
    step = Batch.step
    failures = [RuntimeError("secret inside")]

    def failing(self):
        if self.sequences and failures:
            raise failures.pop()
        return step(self)

    monkeypatch.setattr(Batch, "step", failing)
    answer = served.post(CHAT, HELLO)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret inside" in caplog.text
    assert served.post(CHAT, HELLO).status_code == 200
    settle(served)


def test_a_failure_in_the_middle_of_a_stream_is_its_last_event(served, monkeypatch):
    step, steps = Batch.step, []

    def failing(self):
        if self.sequences:
            steps.append(1)
        if len(steps) == 3:
            raise RuntimeError("inside")
        return step(self)

    monkeypatch.setattr(Batch, "step", failing)
    events = served.post(CHAT, {**HELLO, "stream": True, "max_tokens": 9}).text.split("\n\n")
    last = events[-2].split("\n")
    assert last[0] == "event: error"
    assert json.loads(last[1].removeprefix("data: "))["error"]["type"] == "server_error"
    monkeypatch.undo()
    settle(served)


def test_a_request_has_only_so_much_time(folder):
    with serving([folder], Options(limits=Limits(seconds=0.001))) as hasty:
        answer = hasty.post(DRAW, {"prompt": "a boat", "n": 4})
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "timeout"
        settle(hasty)


def test_running_requests_finish_when_the_server_stops(folder):
    with ThreadPoolExecutor(1) as pool:
        with serving([folder], Options()) as running:
            url = f"{running.url}{DRAW}"  # with a client that stays open
            work = pool.submit(httpx.post, url, json={"prompt": "a boat"}, timeout=60)
            while not running.state.scheduler.running and not work.done():
                time.sleep(0.001)
        assert work.result(timeout=60).status_code == 200


def test_counts_are_shown(served):
    served.post(CHAT, HELLO)
    text = served.get("/metrics").text
    assert 'liquid_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert f'liquid_tokens_total{{model="{served.model}"}}' in text
    for line in text.splitlines():
        assert line.startswith("#") or float(line.rsplit(" ", 1)[1]) >= 0


def test_threads_end_with_their_server(folder):
    before = threading.active_count()
    with serving([folder], Options()) as running, suppress(Exception):
        running.post(CHAT, HELLO)
    assert threading.active_count() <= before


def test_text_is_held_back_only_while_it_may_become_a_stop_word():
    from liquid_mlx.server.text import StopText

    text = StopText(["END", "\n\n"])
    assert [text.add(piece) for piece in ("a E", "N", "x\n", "b")] == ["a ", "", "ENx", "\nb"]
    assert text.add("cEN") == "c"
    assert text.end() == "EN"
    other = StopText(["END"])
    assert other.add("aENDb") == "a"
    assert other.found
    assert other.add("more") == ""


@pytest.mark.parametrize(("total", "wanted"), [(8, 0), (8, 1), (8, 3), (8, 7), (8, 100), (1, 5)])
def test_partial_pictures_are_at_most_one_a_row(total, wanted):
    from liquid_mlx.server.jobs import partial_rows

    rows = partial_rows(total, wanted)
    assert len(rows) == min(wanted, total - 1)
    assert rows == sorted(set(rows))
    assert all(0 < row < total for row in rows)
