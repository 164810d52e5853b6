"""For the site: links to files outside of ``docs/`` lead to the repository.

On GitHub the same pages link to them as they stand.
"""

import posixpath
import re
from typing import Any

REPOSITORY = "https://github.com/liquid-mlx/liquid-mlx/blob/main"
_LINK = re.compile(r"\]\((\.\./[^)#]*)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def resolve(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        return match[0] if target.startswith("docs/") else f"]({REPOSITORY}/{target}"

    return _LINK.sub(resolve, markdown)
