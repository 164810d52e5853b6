"""Which pictures a command line names: files, folders, globs, standard input, web addresses."""

from __future__ import annotations

import glob
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.errors import ImageError
from liquid_mlx.files import user_path

from .together import refuse_stdin

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
MOST_BYTES = 64 * 2**20  # of a picture from the web or from standard input
CONNECT_SECONDS, MOST_SECONDS = 20, 60
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Source:
    """A picture by the name that the user knows it by: typed, unless a folder lists ``file``."""

    name: str
    data: bytes | None = None
    file: Path | None = None

    @property
    def path(self) -> Path | None:
        """Its file, if it has one."""
        if self.data is not None or is_web(self.name):
            return None
        return self.file or user_path(self.name)

    def read(self) -> Path | bytes:
        """What ``Liquid`` takes; raises ImageError if the web does not give it."""
        if self.data is not None:
            return self.data
        return self.path or download(self.name)


def is_web(name: str) -> bool:
    """Whether a name is a web address."""
    return bool(_WEB.match(name))


def expand(names: Iterable[str]) -> list[Source]:
    """The pictures that names stand for, folders and globs in order of name.

    ``-`` is standard input: one picture, or a list of names, one per line.

    Raises:
        ImageError: a folder or a glob has no picture, or standard input is neither.
    """
    return [source for name in names for source in _expand(name)]


def _expand(name: str) -> Iterator[Source]:
    if name == "-":
        yield from _standard_input()
        return
    if is_web(name):
        yield Source(name)
        return
    path = user_path(name)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ImageError(f"The folder {name} has no images ({', '.join(sorted(SUFFIXES))}).")
        yield from (Source(str(file), file=file) for file in found)
    elif glob.has_magic(name) and not path.exists():
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise ImageError(f"No file matches {name}.")
        yield from (Source(file, file=Path(file)) for file in matches)
    else:
        yield Source(name)


def _standard_input() -> Iterator[Source]:
    refuse_stdin()
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ImageError(f"Standard input is larger than {MOST_BYTES >> 20} MiB.")
    if data.startswith(_SIGNATURES):
        yield Source("-", data)
        return
    try:
        names = [line.strip() for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        names = []
    if not names:
        raise ImageError("Standard input is neither an image nor a list of images.")
    for name in names:
        if name != "-":
            yield from _expand(name)


def download(url: str) -> bytes:
    """A picture from the web: http and https only, also after redirects; limited in size and time.

    Raises:
        ImageError: it cannot be had.
    """
    import http.client
    import urllib.error
    import urllib.parse

    shown = url if len(url) <= 100 else url[:99] + "…"
    address = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    end = time.monotonic() + MOST_SECONDS
    try:
        with _opener().open(address, timeout=CONNECT_SECONDS) as answer:
            data = b""
            while piece := answer.read1(1 << 16):
                data += piece
                if len(data) > MOST_BYTES:
                    raise ImageError(f"{shown} is larger than {MOST_BYTES >> 20} MiB.")
                if time.monotonic() > end:
                    raise ImageError(f"{shown} takes longer than {MOST_SECONDS} s.")
            return data
    except urllib.error.HTTPError as error:
        raise ImageError(f"{shown} answers with {error.code} ({error.reason}).") from None
    except urllib.error.URLError as error:
        raise ImageError(f"{shown} cannot be reached ({error.reason}).") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageError(f"{shown} cannot be read ({error or type(error).__name__}).") from None


def _opener() -> Any:
    """Handlers for http and https, and no others: a redirect cannot lead to a file."""
    import urllib.request

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "liquid-mlx"), ("Accept", "image/*")]
    return opener
