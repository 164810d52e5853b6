"""Every sentence that a user's mistake can cause, read from the source: the page ``errors.md``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from liquid_mlx import errors

ROOT = Path(__file__).parents[2]
FOLDERS = ("liquid_mlx", "convert", "cli")
HEADER = """\
# Every error

Written by `python -m benchmarks.docs` from the source; a test keeps it current. Each sentence says
what is wrong and what to do; `...` stands for a name or a number. The [questions](faq.md) have what
deserves more words. In Python each is an exception of the kind in the heading, and all are
`liquid_mlx.LiquidError`. On the command line they end with exit code 1, those of `UsageError` with
2.
"""


def sentences() -> dict[str, list[str]]:
    """The sentences of each kind of error, in the order of the alphabet."""
    kinds = [name for name in vars(errors) if name.endswith("Error")]
    found: dict[str, set[str]] = {kind: set() for kind in sorted(kinds)}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for kind, sentence in _raised(path):
                if kind in found:
                    found[kind].add(sentence)
    return {kind: sorted(texts, key=str.lower) for kind, texts in found.items() if texts}


def _raised(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            text = _text(node.args[0])
            if text.strip(". ") and text.replace("...", "").strip():
                yield node.func.id, " ".join(text.split())


def _text(node: ast.expr) -> str:
    """A text literal, its values as dots."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "..."


def page() -> str:
    """The whole page, as Markdown."""
    parts = [HEADER]
    for kind, texts in sentences().items():
        about = (getattr(errors, kind).__doc__ or "").strip()
        lines = [f"- {text}".replace("<", "&lt;").replace("*", "\\*") for text in texts]
        parts.append("\n".join([f"## {kind}\n", f"{about}\n", *lines, ""]))
    return "\n".join(parts)
