"""Which pictures a command line names, and what the web may do."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from liquid_mlx.cli import inputs as sources
from liquid_mlx.cli.inputs import download, expand
from liquid_mlx.errors import ImageError
from tests.cli.conftest import Run


class Web(BaseHTTPRequestHandler):
    """Pictures, redirects and mischief, by path."""

    def do_GET(self) -> None:
        page = self.path.partition("?")[0]
        if page == "/red.png":
            file = io.BytesIO()
            Image.new("RGB", (8, 8), "red").save(file, "PNG")
            self._answer(200, file.getvalue())
        elif page == "/moved":
            self._answer(302, b"", Location="/red.png")
        elif page == "/file":
            self._answer(302, b"", Location="file:///etc/passwd")
        elif page == "/ftp":
            self._answer(302, b"", Location="ftp://localhost/x")
        elif page == "/circle":
            self._answer(302, b"", Location="/circle")
        elif page == "/huge":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 20))
            except OSError:
                pass
        elif page == "/slow":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            except OSError:
                pass
        elif page == "/silent":
            time.sleep(1.5)
        elif page == "/broken":
            self.wfile.write(b"not HTTP at all\r\n\r\n")
        elif page == "/page":
            self._answer(200, b"<html>no picture</html>")
        else:
            self._answer(404, b"")

    def _answer(self, code: int, data: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def names(*arguments: str) -> list[str]:
    return [source.name for source in expand(arguments)]


def test_files_folders_and_globs(photos: Path) -> None:
    every = ["photos/blue.png", "photos/green.png", "photos/red.png"]
    assert names("photos") == every
    assert names("photos/*.png") == every
    assert names("**/r*.png") == ["photos/red.png"]
    assert names("photos/red.png", "photos/blue.png") == [every[2], every[0]]
    assert names("missing.png") == ["missing.png"]  # reported when it is read


def test_a_file_whose_name_looks_like_a_pattern(photos: Path) -> None:
    (photos / "red.png").rename("a[1].png")
    assert names("a[1].png") == ["a[1].png"]


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "*.gif"):
        with pytest.raises(ImageError, match=r"empty|\*\.gif"):
            expand([name])


def test_a_picture_from_the_web(web: str, run: Run) -> None:
    assert download(f"{web}/red.png?size=1 2&é=1").startswith(b"\x89PNG")
    assert download(f"{web}/moved").startswith(b"\x89PNG")
    assert run("caption", f"{web}/red.png", "-m", "2").exit_code == 0


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("/none", "404"),
        ("/file", "cannot be reached|answers with 302|cannot be read"),
        ("/ftp", "unknown url type"),
        ("/circle", "302"),
        ("/huge", "larger than 1 MiB"),
        ("/slow", "longer than 1 s"),
        ("/silent", "cannot be re"),
        ("/broken", "cannot be re"),
    ],
)
def test_mischief_of_the_web(
    page: str, words: str, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(sources, "MOST_SECONDS", 1)
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ImageError, match=words):  # of "/slow" and "/silent": they have no end
        download(web + page)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/x.png", "http://", "https://[x/", "http://nowhere.invalid/x"]
)
def test_addresses_that_lead_nowhere(address: str) -> None:
    with pytest.raises(ImageError, match="cannot be re"):
        download(address)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://localhost/x", "gopher://x"])
def test_other_schemes_are_names_of_files_that_are_not_there(address: str, run: Run) -> None:
    done = run("caption", address)
    assert done.exit_code == 1
    assert "does not exist" in done.stderr


def test_one_bad_address_does_not_stop_the_rest(web: str, run: Run) -> None:
    done = run("ask", f"{web}/page", f"{web}/none", f"{web}/red.png", "What?", "-m", "2")
    assert done.exit_code == 3
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [f"{web}/red.png"]
    assert "not a picture" in done.stderr
    assert "404" in done.stderr


def test_standard_input_is_a_picture_or_a_list(photos: Path, run: Run) -> None:
    data = (photos / "red.png").read_bytes()
    piped = run("ask", "-", "What is it?", "-m", "4", input=data)
    direct = run("ask", "photos/red.png", "What is it?", "-m", "4")
    assert (piped.exit_code, piped.stdout) == (0, direct.stdout)
    listed = run("ask", "-", "What?", "-m", "1", input="photos/red.png\nphotos/blue.png\n")
    assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == [
        "photos/red.png",
        "photos/blue.png",
    ]
    for nothing in (b"", b"\xff\x00\xfe"):
        assert run("ask", "-", "What?", input=nothing).exit_code == 1
