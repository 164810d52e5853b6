"""``python -m benchmarks.docs``: write anew what the documentation shows of the program.

The reference of the commands, the list of errors, the outputs in all pages, the README's moving
picture and the gallery. With ``--pictures`` the pictures of the examples, too; with ``--check``
nothing is written, and the exit code is 1 if something would change.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.docs import errors, pages, pictures, plots
from liquid_mlx.cli.reference import reference
from liquid_mlx.files import atomic_write


def renewed(page: str, folder: Path) -> str:
    """A page with the outputs that its commands have now."""
    text = (pages.ROOT / page).read_text(encoding="utf-8")
    pages.prepare(folder)
    with pages.web() as variables:
        printed = {block.line: output for block, output in pages.run(text, folder, variables)}
    return pages.rewritten(text, printed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pictures", action="store_true", help="the examples' pictures, too")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("pages", nargs="*", default=pages.PAGES, help="only these")
    options = parser.parse_args()
    if options.pictures:
        pictures.write_examples(pages.ROOT / "examples" / "pictures")
    new = {"docs/cli.md": reference(), "docs/reference/errors.md": errors.page()}
    new |= {f"docs/{name}": svg for name, svg in plots.plots().items()}
    for page in options.pages:
        print(page, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            new[page] = renewed(page, Path(folder))
    changed = False
    for page, text in new.items():
        path = pages.ROOT / page
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed = True
            print(f"{page} has changed")
            if not options.check:
                path.parent.mkdir(exist_ok=True)
                atomic_write(path, text)
    if not options.check:
        pictures.write_growing(pages.ROOT / "docs/pictures/growing.png")
        pictures.write_gallery(pages.ROOT / "docs/examples/gallery.png")
    raise SystemExit(options.check and changed)


if __name__ == "__main__":
    main()
