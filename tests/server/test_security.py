"""Hostile requests: each is refused with the right status, and the server goes on as before."""

from __future__ import annotations

import json
import socket
from contextlib import suppress

import pytest

from liquid_mlx.server.app import Options
from liquid_mlx.server.guard import Access
from tests.server.conftest import serving

JSON = "Content-Type: application/json"
DRAW = "/v1/images/generations"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module", autouse=True)
def _unharmed(served):
    yield
    assert served.get("/health").json()["status"] == "ok"
    assert (served.state.scheduler.running, served.state.scheduler.waiting) == (0, 0)


def raw(served, text, wait=5.0):
    """The status of an answer to bytes as they are; 0 if the connection is closed without one."""
    data = text if isinstance(text, bytes) else text.encode("latin-1")
    answer = b""
    there = "127.0.0.1", served.port
    # It may be closed while we still send.
    with socket.create_connection(there, wait) as connection, suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(1 << 16):
            answer += piece
    return int(answer.split(b" ", 2)[1]) if answer else 0


HOSTS = {
    "evil.example": 403,
    "evil.example:8080": 403,
    "127.0.0.1.evil.example": 403,
    "localhost.evil.example": 403,
    "evil.example.localhost": 403,
    "169.254.169.254": 403,
    "metadata.google.internal": 403,
    "0.0.0.0": 403,
    "127.1": 403,
    "2130706433": 403,
    "0x7f000001": 403,
    "[::ffff:127.0.0.1]": 403,
    "[::]": 403,
    "router.local": 403,
    "localhost.": 403,
    "user@127.0.0.1": 400,
    "127.0.0.1/..": 400,
    "127.0.0.1, evil.example": 400,
    "127.0.0.1 evil.example": 400,
    "127.0.0.1:999999": 400,
    "127.0.0.1:8080:80": 400,
    "": 400,
    "%31%32%37.0.0.1": 400,
    "http://127.0.0.1": 400,
}


@pytest.mark.parametrize("path", ["/", "/v1/models", "/health", "/metrics"])
@pytest.mark.parametrize("host", HOSTS)
def test_other_names_are_refused(served, host, path):
    text = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert raw(served, text) == HOSTS[host]


ORIGINS = (
    "http://evil.example",
    "https://evil.example",
    "null",
    "file://",
    "http://localhost:1",
    "http://127.0.0.1.evil.example",
    "chrome-extension://abcdefgh",
    "http://127.0.0.1",
    "http://127.0.0.1:{port}.evil.example",
    "http://{port}",
)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_pages_of_other_servers_are_refused(served, origin, method):
    origin = origin.format(port=served.port)
    answer = served.http.request(
        method,
        DRAW if method != "GET" else "/v1/models",
        headers={"Origin": origin},
        json={"prompt": "a boat"},
    )
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


PATHS = (
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/static/..%2f..%2f..%2fetc%2fpasswd",
    "/static/....//app.py",
    "/static/%2fetc%2fpasswd",
    "/static/index.html%00.js",
    "/static/index.html/",
    "/static/",
    "/static/.",
    "/static/..",
    "/static/..\\app.py",
    "/static/C:%5cwindows",
    "//etc/passwd",
    "/../../etc/passwd",
    "/v1/models/../../../etc/passwd",
    "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/v1/models/%00",
    "/v1/models/demo%0d%0aSet-Cookie:a=b",
    "/v1/files",
    "/admin",
    "/.git/config",
    "/v1/images/" + "a" * 4000,
    "/" + "../" * 500,
)


@pytest.mark.parametrize("path", PATHS)
def test_there_are_no_other_files(served, path):
    assert raw(served, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n") == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/files", 404, "not_found_error"),
        ("POST", "/v1/", 404, "not_found_error"),
        ("GET", DRAW, 405, "invalid_request_error"),
        ("DELETE", "/v1/models/x", 405, "invalid_request_error"),
    ],
)
def test_routes_that_do_not_exist_are_answered_as_clients_expect(
    served, method, path, status, kind
):
    answer = served.http.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["type"] == kind
    assert error["message"].endswith(".")


FORMS = {
    "two lengths": ("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "both lengths": (
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "both, other order": (
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a signed length": ("Content-Length: +2\r\n\r\n{}", 400),
    "a negative length": ("Content-Length: -2\r\n\r\n{}", 400),
    "a list of lengths": ("Content-Length: 2, 3\r\n\r\n{}", 400),
    "a length of another base": ("Content-Length: 0x2\r\n\r\n{}", 400),
    "an endless length": ("Content-Length: 99999999999999999999\r\n\r\n{}", 400),
    "a large length": ("Content-Length: 999999999\r\n\r\n{}", 413),
    "unknown encoding": ("Transfer-Encoding: gzip\r\n\r\n{}", 400),
    "chunked twice": ("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "almost chunked": ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "a bad chunk": ("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    "space before the colon": ("Content-Length : 2\r\n\r\n{}", 400),
    "a second host": ("Host: evil.example\r\n\r\n", 400),
    "a nul": ("X-A: a\0b\r\n\r\n", 400),
    "a name with a space": ("X A: b\r\n\r\n", 400),
    "no name": (": b\r\n\r\n", 400),
    "a header too long": ("X-A: " + "a" * 200_000 + "\r\n\r\n", 400),
    "too many headers": ("".join(f"X-{i}: {'a' * 20}\r\n" for i in range(9000)) + "\r\n", 400),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_two_servers_could_read_differently_is_refused(served, name):
    form, status = FORMS[name]
    text = f"POST {DRAW} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nConnection: close\r\n{form}"
    closed = (0,) if len(text) > 100_000 else ()  # without reading on to the end
    assert raw(served, text) in (status, *closed)


LINES = {
    "GET / HTTP/9.9": 0,
    "GET / HTTP/1.1 extra": 400,
    "GET  / HTTP/1.1": 400,
    "GET /\0 HTTP/1.1": 400,
    "TRACE / HTTP/1.1": 405,
    "DELETE /v1/models HTTP/1.1": 405,
    "PUT / HTTP/1.1": 405,
    "OPTIONS /v1/models HTTP/1.1": 405,
    "PATCH /health HTTP/1.1": 405,
    "GET /v1/images/generations HTTP/1.1": 405,
    "GET /v1/chat/completions HTTP/1.1": 405,
    "CONNECT evil.example:443 HTTP/1.1": 404,
    "GET http://evil.example/ HTTP/1.1": 404,
    "hello": 400,
    "\x16\x03\x01\x02\x00\x01": 400,
}


@pytest.mark.parametrize("line", LINES)
def test_other_request_lines_are_refused(served, line):
    assert raw(served, f"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n") == LINES[line]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=a", 415),
        ("application/jsonp", 415),
        ("", 415),
    ],
)
@pytest.mark.parametrize("path", [DRAW, CHAT, "/v1/completions", "/v1/choices"])
def test_bodies_that_browsers_send_without_asking_are_refused(served, path, kind, status):
    answer = served.http.post(path, content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == status


BODIES = {
    "nothing": b"",
    "half": b'{"prompt": "a',
    "a list": b"[1]",
    "a number": b"1",
    "deep": b'{"prompt": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "nan": b'{"prompt": "a", "temperature": NaN}',
    "infinity": b'{"prompt": "a", "temperature": Infinity}',
    "huge integer": b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}",
    "huge float": b'{"prompt": "a", "guidance": 1e400}',
    "not utf-8": b'{"prompt": "\xff\xfe"}',
    "utf-16": '{"prompt": "a"}'.encode("utf-16"),
    "half a character": b'{"prompt": "\\ud800"}',
    "prompt of objects": b'{"prompt": {"a": 1}}',
    "true as number": b'{"prompt": "a", "n": true}',
    "negative n": b'{"prompt": "a", "n": -1}',
    "n of a million": b'{"prompt": "a", "n": 1000000}',
    "n of a half": b'{"prompt": "a", "n": 1.5}',
    "huge size": b'{"prompt": "a", "size": "99999x99999"}',
    "size with a path": b'{"prompt": "a", "size": "../../etc"}',
    "partial images": b'{"prompt": "a", "partial_images": 100000}',
    "a model by path": b'{"prompt": "a", "model": "/etc/passwd"}',
    "a model above": b'{"prompt": "a", "model": "../../demo"}',
    "a model of the Hub": b'{"prompt": "a", "model": "evil/model"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_no_requests_are_refused(served, name):
    answer = served.http.post(
        DRAW, content=BODIES[name], headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == (404 if "model" in name else 400), answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert len(answer.text) < 1000


MESSAGES = {
    "none": [],
    "text": "hello",
    "numbers": [1],
    "no role": [{"content": "a"}],
    "another role": [{"role": "tool", "content": "a"}],
    "no content": [{"role": "user"}],
    "empty": [{"role": "user", "content": ""}],
    "empty parts": [{"role": "user", "content": []}],
    "another part": [{"role": "user", "content": [{"type": "file", "file": "/etc/passwd"}]}],
    "audio": [{"role": "user", "content": [{"type": "input_audio"}]}],
    "assistant alone": [{"role": "assistant", "content": "a"}],
    "ends with the assistant": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ],
    "system alone": [{"role": "system", "content": "a"}],
    "too many": [{"role": "user", "content": "a"}] * 300,
    "a picture alone": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    ],
    "too long": [{"role": "user", "content": "a" * 50_000}],
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_that_are_no_conversation_are_refused(served, name):
    answer = served.post(CHAT, {"messages": MESSAGES[name]})
    assert answer.status_code == 400, answer.text


def test_a_body_of_chunks_is_bounded(folder):
    with serving([folder], Options(Access(most_bytes=1000))) as small:
        chunks = (b"a" * 100 for _ in range(100))
        answer = small.http.post(DRAW, content=chunks, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413


def test_forms_are_bounded(served, photo):
    def send(data, files):
        return served.post("/v1/images/edits", None, data=data, files=files).status_code

    assert send({f"f{i}": "a" for i in range(100)}, {"image": photo}) == 400
    assert send({"prompt": "a" * 300_000}, {"image": photo}) == 400
    assert send({"prompt": "a"}, [("image", photo), ("image", photo)]) == 400
    assert send({"prompt": "a"}, {"other": photo}) == 400
    assert send({"prompt": "a"}, {"image": photo}) == 400  # neither mask nor rows nor alpha
    assert send({"prompt": "a", "keep_rows": "1e9"}, {"image": photo}) == 400
    assert send({"prompt": "a", "keep_rows": "99999"}, {"image": photo}) == 400


def test_a_key_is_asked_for_everywhere_but_on_the_page(folder):
    with serving([folder], Options(Access(key="right", any_host=True))) as locked:
        for path in ("/v1/models", "/metrics", "/v1/models/a"):
            assert locked.get(path).status_code == 401
            for wrong in ("Bearer wrong", "Bearer", "right", "Basic right", "Bearer rightright"):
                assert locked.get(path, headers={"Authorization": wrong}).status_code == 401
        right = {"Authorization": "Bearer right", "Host": "my-mac.local"}
        assert locked.get("/v1/models", headers=right).status_code == 200
        assert locked.post(DRAW, {"prompt": "a"}).status_code == 401
        assert locked.get("/").status_code == 200
        assert locked.get("/health").status_code == 200


def test_a_page_that_is_allowed_may_ask(folder):
    origin = "https://app.example"
    with serving([folder], Options(Access(origins=[origin]))) as running:
        before = running.http.options(
            DRAW,
            headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
        )
        assert before.status_code == 204
        answer = running.get("/v1/models", headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        other = running.get("/v1/models", headers={"Origin": "https://app.example.evil"})
        assert other.status_code == 403


def test_every_answer_tells_browsers_to_be_strict(served):
    for path in ("/", "/v1/models", "/nothing"):
        headers = served.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_paths_of_the_machine_are_in_no_answer(served, folder):
    texts = [served.get(path).text for path in ("/v1/models", "/health", "/metrics")]
    texts.append(json.dumps(served.post(DRAW, {"prompt": "a"}).json()))
    assert not any(folder in text or "/tmp" in text for text in texts)
