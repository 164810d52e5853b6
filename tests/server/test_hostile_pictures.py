"""Pictures that are none, and addresses where none may be looked for: refused, nothing fetched."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from liquid_mlx.server.app import Options
from tests.server.conftest import data_url, serving

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module", autouse=True)
def _unharmed(served):
    yield
    assert served.get("/health").json()["status"] == "ok"
    assert (served.state.scheduler.running, served.state.scheduler.waiting) == (0, 0)


def png(width, height, body=b"", *chunks):
    """A PNG whose header promises so many pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pictures():
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    whole = file.getvalue()
    return {
        "nothing": b"",
        "text": b"hello",
        "a page": b"<html><script>alert(1)</script></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "pdf": b"%PDF-1.7\n",
        "a bomb": png(60_000, 60_000, zlib.compress(bytes(1 << 20))),
        "a wide bomb": png(2**31 - 1, 1),
        "no pixels": png(0, 0),
        "half": whole[: len(whole) // 2],
        "header only": whole[:33],
        "gzip": zlib.compress(bytes(1 << 20)),
        "icns": b"icns" + struct.pack(">I", 1 << 31) + bytes(100),
        "an endless gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20),
        "a bmp": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 1 << 20, 1 << 20, 1, 24, 0, 0, 0, 0, 0, 0),
    }


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("path", [CHAT, "/v1/images/edits"])
def test_what_is_no_picture_is_refused(served, name, path):
    data = pictures()[name]
    if path == CHAT:
        part = {"type": "image_url", "image_url": {"url": data_url(data)}}
        text = {"type": "text", "text": "What is it?"}
        body = {"messages": [{"role": "user", "content": [part, text]}], "max_tokens": 1}
        answer = served.post(path, body)
    else:
        files = {"image": ("../../etc/passwd", data), "mask": ("mask.png", data)}
        answer = served.post(path, None, data={"prompt": "a"}, files=files)
    assert answer.status_code == 400, answer.text


URLS = (
    "file:///etc/passwd",
    "ftp://example.com/a.png",
    "gopher://127.0.0.1/",
    "/etc/passwd",
    "photo.png",
    "data:text/html;base64,PGI+",
    "data:image/png,abc",
    "data:image/png;base64,@@@@",
    "data:image/png;base64,",
    "javascript:alert(1)",
    "blob:http://localhost/1",
)
ADDRESSES = (
    "http://127.0.0.1/a.png",
    "http://localhost/a.png",
    "http://localhost.localdomain/a.png",
    "http://[::1]/a.png",
    "http://[::]/a.png",
    "http://[::ffff:127.0.0.1]/a.png",
    "http://[::ffff:7f00:1]/a.png",
    "http://[64:ff9b::7f00:1]/a.png",
    "http://[2002:7f00:1::]/a.png",
    "http://[fe80::1]/a.png",
    "http://[fe80::1%25eth0]/a.png",
    "http://[fd00::1]/a.png",
    "http://[ff02::1]/a.png",
    "http://0.0.0.0/a.png",
    "http://0/a.png",
    "http://127.1/a.png",
    "http://2130706433/a.png",
    "http://0x7f000001/a.png",
    "http://0177.0.0.1/a.png",
    "http://10.0.0.1/a.png",
    "http://172.16.0.1/a.png",
    "http://192.168.1.1/a.png",
    "http://100.64.0.1/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://224.0.0.1/a.png",
    "http://255.255.255.255/a.png",
    "http://user:pw@example.com/a.png",
    "http://example.com:22/a.png",
    "https://example.com:8443/a.png",
    "http://:80/a.png",
    "http://[/a.png",
    "http://example.com:99999/a.png",
    "http://a\r\nHost: b/a.png",
    "http:///etc/passwd",
    "https://" + "a" * 3000,
)


def ask_about(server, url):
    part = {"type": "image_url", "image_url": {"url": url}}
    text = {"type": "text", "text": "What is it?"}
    return server.post(CHAT, {"messages": [{"role": "user", "content": [part, text]}]})


@pytest.mark.parametrize("url", [*URLS, ADDRESSES[0], "https://example.com/a.png"])
def test_nothing_is_read_or_fetched_for_a_request(served, url, monkeypatch):
    monkeypatch.setattr("liquid_mlx.server.conversation.fetch", None)  # it would fail loudly
    assert ask_about(served, url).status_code == 400


@pytest.fixture(scope="module")
def fetching(folder):
    with serving([folder], Options(remote_images=True)) as running:
        yield running


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_inside_are_not_fetched(fetching, url, monkeypatch):
    reached = []
    monkeypatch.setattr(
        "liquid_mlx.server.remote.create_connection", lambda *a, **k: reached.append(a)
    )
    assert ask_about(fetching, url).status_code == 400
    assert reached == []
