"""For the site: links to files outside of ``docs/`` lead to the repository.

On GitHub the same pages link to them as they stand. The page of changes is the CHANGELOG itself.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/liquid-mlx/liquid-mlx/blob/main"
_LINK = re.compile(r"\]\(((?!https?:|#)[^)#]+)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    own = written_in = posixpath.dirname(f"docs/{page.file.src_uri}")
    if page.file.src_uri == "reference/changelog.md":
        markdown, written_in = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), ""

    def resolve(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(written_in, match[1]))
        inside = target.startswith("docs/")
        return f"]({posixpath.relpath(target, own) if inside else f'{REPOSITORY}/{target}'}"

    return _LINK.sub(resolve, markdown)
