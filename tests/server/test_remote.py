"""Pictures from the web: the address that was checked is the one that is asked."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from liquid_mlx.server import remote
from liquid_mlx.server.errors import APIError


class Site(BaseHTTPRequestHandler):
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"]))
        moved = {"/inside": "http://10.0.0.1/a.png", "/round": "/round", "/next": "/picture"}
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.end_headers()
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # the reader has had enough
                self.wfile.write(bytes(1 << 20))
        elif self.path == "/none":
            self.send_error(404)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"picture")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch):
    """A site that stands for one of the open internet, on a port that stands for 80."""
    Site.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(remote, "PORTS", {"http": server.server_port, "https": 443})
    public = remote.is_public
    monkeypatch.setattr(remote, "is_public", lambda a: a == "127.0.0.1" or public(a))
    yield Site
    server.shutdown()
    server.server_close()


def names(monkeypatch, *answers):
    """What the name server says, answer by answer."""
    left = list(answers)

    def getaddrinfo(host, port, **_):
        addresses = left.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr(remote, "getaddrinfo", getaddrinfo)
    return left


def test_a_picture_is_fetched_also_behind_a_redirect(site, monkeypatch):
    names(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
    assert remote.fetch("http://example.com/next", "image") == b"picture"
    assert [path for path, _ in site.asked] == ["/next", "/picture"]
    assert site.asked[0][1].startswith("example.com")


def test_a_name_is_looked_up_once_for_a_connection(site, monkeypatch):
    left = names(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])  # the second answer leads inside
    assert remote.fetch("http://example.com/picture", "image") == b"picture"
    assert left == [["10.0.0.1"]]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["127.0.0.1", "192.168.0.1"], []])
def test_all_addresses_of_a_name_must_be_public(site, monkeypatch, addresses):
    names(monkeypatch, addresses)
    with pytest.raises(APIError, match="not a public one"):
        remote.fetch("http://example.com/picture", "image")
    assert site.asked == []


def test_a_redirect_is_checked_as_the_first_address_is(site, monkeypatch):
    names(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    with pytest.raises(APIError):
        remote.fetch("http://example.com/inside", "image")
    assert [path for path, _ in site.asked] == ["/inside"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("round", "too many others"), ("large", "larger than"), ("none", "404")],
)
def test_what_does_not_end_well_is_an_error(site, monkeypatch, path, message):
    names(monkeypatch, *[["127.0.0.1"]] * 10)
    monkeypatch.setattr(remote, "MOST_BYTES", 1 << 17)
    with pytest.raises(APIError, match=message):
        remote.fetch(f"http://example.com/{path}", "image")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address):
    assert remote.is_public(address)
