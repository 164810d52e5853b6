"""A picture inside the terminal: iTerm2's and kitty's protocols, coloured half blocks elsewhere."""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .terminal import raw

if TYPE_CHECKING:
    from PIL import Image

MOST_LINES = 32
_BLANK = (40, 40, 40)  # what is not drawn yet


def protocol(environment: Mapping[str, str], terminal: bool) -> str | None:
    """How to show a picture: "iterm2", "kitty", "blocks", "blocks256", or None: not at all.

    Terminal multiplexers pass neither protocol on, so inside them blocks are used.
    """
    term = environment.get("TERM", "")
    if not terminal or term in ("", "dumb"):
        return None
    if not environment.get("TMUX") and not term.startswith(("screen", "tmux")):
        program = environment.get("TERM_PROGRAM", "")
        if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
        if "kitty" in term or environment.get("KITTY_WINDOW_ID") or "ghostty" in program.lower():
            return "kitty"
    if environment.get("NO_COLOR"):
        return None
    full = environment.get("COLORTERM") in ("truecolor", "24bit") or "direct" in term
    return "blocks" if full else "blocks256"


class Preview:
    """A place on stderr in which a picture of a fixed size is shown, again and again."""

    def __init__(self, width: int, height: int, name: str | None = None):
        """Room for a picture of width x height pixels, as large as the terminal allows."""
        self._protocol = name or protocol(os.environ, sys.stderr.isatty())
        columns, lines = shutil.get_terminal_size()
        self._lines = max(1, min(MOST_LINES, lines - 4, int((columns - 1) / 2 * height / width)))
        self._columns = max(1, round(self._lines * 2 * width / height))
        self._size = width, height
        self._begun = False

    @property
    def active(self) -> bool:
        """Whether this terminal can show pictures."""
        return self._protocol is not None

    @property
    def good(self) -> bool:
        """Whether it shows them well: not in the 256 colours of older terminals."""
        return self.active and self._protocol != "blocks256"

    def show(self, picture: Image.Image) -> None:
        """Show a picture, or its upper part; the cursor stays on the line below."""
        if not self.active:
            return
        from PIL import Image

        whole = Image.new("RGB", self._size, _BLANK)
        whole.paste(picture, (0, 0))
        out = "" if self._begun else "\n" * self._lines
        self._begun = True
        up, down = f"\r\x1b[{self._lines}A", f"\r\x1b[{self._lines}B"
        if self._protocol == "iterm2":
            out += up + _iterm2(whole, self._columns, self._lines) + down
        elif self._protocol == "kitty":
            out += up + _kitty(whole, self._columns, self._lines) + down
        else:
            full = self._protocol == "blocks"
            out += up + half_blocks(whole, self._columns, self._lines, full)
        raw(sys.stderr).write(out)
        raw(sys.stderr).flush()


def _png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _iterm2(picture: Image.Image, columns: int, lines: int) -> str:
    """iterm2.com/documentation-images.html; the cursor is left alone."""
    size = f"width={columns};height={lines};preserveAspectRatio=1;doNotMoveCursor=1"
    return f"\x1b]1337;File=inline=1;{size}:{_png(picture)}\a"


def _kitty(picture: Image.Image, columns: int, lines: int) -> str:
    """sw.kovidgoyal.net/kitty/graphics-protocol: one picture, in pieces of 4,096 bytes."""
    data = _png(picture)
    pieces = [data[i : i + 4096] for i in range(0, len(data), 4096)]
    out = ""
    for i, piece in enumerate(pieces):
        head = f"a=T,f=100,q=2,C=1,c={columns},r={lines}," if i == 0 else ""
        out += f"\x1b_G{head}m={int(i + 1 < len(pieces))};{piece}\x1b\\"
    return out


def half_blocks(picture: Image.Image, columns: int, lines: int, full: bool) -> str:
    """A picture as lines of upper half blocks, two pixels to a character.

    Args:
        full: 24-bit colour; else the 6x6x6 cube of 256-colour terminals.
    """
    from PIL import Image

    small = picture.convert("RGB").resize((columns, 2 * lines), Image.Resampling.BOX)
    data = small.tobytes()
    pixels = [(data[i], data[i + 1], data[i + 2]) for i in range(0, len(data), 3)]

    def colour(pixel: tuple[int, int, int]) -> str:
        if full:
            return "2;{};{};{}".format(*pixel)
        red, green, blue = (round(value / 255 * 5) for value in pixel)
        return f"5;{16 + 36 * red + 6 * green + blue}"

    out = []
    for line in range(lines):
        upper = pixels[2 * line * columns : (2 * line + 1) * columns]
        lower = pixels[(2 * line + 1) * columns : (2 * line + 2) * columns]
        cells = (
            f"\x1b[38;{colour(top)};48;{colour(bottom)}m▀"
            for top, bottom in zip(upper, lower, strict=True)
        )
        out.append("".join(cells) + "\x1b[0m\x1b[K\n")
    return "".join(out)
