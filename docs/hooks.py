"""For the site: links to files outside of docs/ lead to the repository.

On GitHub the same pages link to them as they stand.
"""

import re
from typing import Any

REPOSITORY = "https://github.com/liquid-mlx/liquid-mlx/blob/main"
_OUTSIDE = re.compile(r"\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    return _OUTSIDE.sub(rf"]({REPOSITORY}/\1)", markdown)
