"""The documents are true: every command and all code in them run, and print what the pages say.

``python -m benchmarks.docs`` writes anew what these tests compare.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.docs import errors, pages, plots
from benchmarks.docs.pages import PAGES, ROOT, blocks, rewritten, run, same
from liquid_mlx.cli.main import COMMANDS, load_command
from liquid_mlx.cli.reference import reference

# Pages whose commands alone are run, with files of their own: what they print is not compared.
COMMANDS_ALONE = ("docs/editing.md", "docs/finetuning.md", "docs/evaluating.md")
# Only flags are read here: tests/distributed runs such commands, as several processes.
LAUNCHED = "docs/distributed.md"
OWN_DATA = ["evaluate custom", "evaluate draw", "evaluate judge", "evaluate report"]
# Those that measure a machine or serve until they are stopped have tests of their own.
NOT_HERE = ("convert", "bench", "doctor", "distributed", "fuse", "evaluate", "serve")
ALONE = [name for name in COMMANDS if name not in NOT_HERE]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_the_reference_is_current() -> None:
    assert text_of("docs/cli.md") == reference()


def test_the_list_of_errors_is_current() -> None:
    assert text_of("docs/reference/errors.md") == errors.page()


@pytest.mark.parametrize("name", plots.plots())
def test_the_plots_are_current(name: str) -> None:
    assert text_of(f"docs/{name}") == plots.plots()[name]


@pytest.mark.parametrize("command", ALONE + OWN_DATA)
def test_every_flag_is_in_a_command_that_runs(command: str) -> None:
    every = [
        block for page in (*PAGES, *COMMANDS_ALONE, LAUNCHED) for block in blocks(text_of(page))
    ]
    ran = [block.code for block in every if not block.skipped and block.language == "sh"]
    text = "".join(ran).replace("\\\n", " ")
    lines = [part for line in text.splitlines() for part in re.findall(r"liquid \w+[^|>]*", line)]
    used = " ".join(line for line in lines if line.startswith(f"liquid {command} "))
    name, *inner = command.split()
    found = load_command(name)
    for word in inner:
        found = found.commands[word]
    for option in found.params:
        names = [*option.opts, *option.secondary_opts]
        if option.param_type_name == "option":
            assert any(re.search(rf"(?<!\S){re.escape(name)}\b", used) for name in names), names


@pytest.fixture
def web() -> Iterator[dict[str, str]]:
    with pages.web() as variables:
        yield variables


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("jq"), reason="the examples pipe through jq")
@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_all_code_print_what_the_page_says(
    page: str, tmp_path: Path, web: dict[str, str]
) -> None:
    pages.prepare(tmp_path)
    compared = 0
    for block, printed in run(text_of(page), tmp_path, web):
        if block.output is not None and sys.platform == "linux":  # a GPU may round otherwise
            assert same(block.output, printed), f"line {block.line}: {printed}"
            compared += 1
    shown = [block for block in blocks(text_of(page)) if block.output is not None]
    assert compared == len([block for block in shown if not block.skipped]) or not compared


@pytest.mark.slow
@pytest.mark.parametrize("page", COMMANDS_ALONE)
@pytest.mark.usefixtures("photos")
def test_every_command_runs_as_written(page: str, web: dict[str, str]) -> None:
    shutil.copy("photos/red.png", "photo.jpg")
    Path("prompts.txt").write_text("a red circle\na blue square\n")
    for name, lines in {
        "questions.jsonl": [
            {"question_id": i, "image": f"{name}.png", "text": "Is it red?"}
            for i, name in enumerate(("red", "blue", "green"))
        ],
        "pairs.jsonl": [{"image_path": "photos/red.png", "text": "a red frame"}],
    }.items():
        Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    commands = [block for block in blocks(text_of(page)) if block.language == "sh"]
    assert commands
    for block in commands:
        pages.shell(block, Path.cwd(), web)


def test_the_readme_shows_right_answers() -> None:
    """Outputs are written by the program: what they say must be right as well."""
    outputs = {b.code: b.output for b in blocks(text_of("README.md")) if b.output is not None}
    (answer,) = (out for code, out in outputs.items() if "What colour is the heart?" in code)
    assert "green" in answer.lower()


PAGE = """\
```sh
echo one
```
```text
two
```

<!-- not run: it needs what is not here -->
```sh
exit 3
```

```python
x = 1
```

```python
print(x, "done in 3.5 s")
```
```text
1 done in 9 s
```
"""


def test_a_page_is_run_and_its_outputs_are_renewed(tmp_path: Path) -> None:
    results = list(run(PAGE, tmp_path, {}))
    assert [printed for _, printed in results] == ["one\n", "", "1 done in 3.5 s\n"]
    assert [same(b.output or "", printed) for b, printed in results] == [False, True, True]
    new = rewritten(PAGE, {block.line: printed for block, printed in results})
    assert new == PAGE.replace("two", "one").replace("9 s", "3.5 s")
    with pytest.raises(RuntimeError, match="line 2"):
        list(run("\n```sh\nfalse\n```\n", tmp_path, {}))


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "pictures").glob("*.png")))
def test_the_example_pictures_are_those_of_the_world(path: Path) -> None:
    from benchmarks.docs.pictures import example_scenes
    from training.world import render

    with Image.open(path) as image:
        assert image.size == (render(example_scenes()[path.stem]).shape[1::-1])


def test_the_moving_picture_moves() -> None:
    with Image.open(ROOT / "docs/pictures/growing.png") as image:
        assert getattr(image, "n_frames", 1) > 4
    assert (ROOT / "docs/pictures/growing.png").stat().st_size < 2**20


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells, one after another; a picture at a cell's end shows itself."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(text_of("examples/tour.ipynb"))
    names: dict[str, object] = {}
    shown = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []  # no pictures in the history
        *before, last = "".join(cell["source"]).split("\n")
        exec("\n".join(before), names)  # noqa: S102 (our own notebook)
        value = eval(last, names) if "=" not in last else exec(last, names)  # noqa: S102, S307
        if hasattr(value, "_repr_png_"):
            assert value._repr_png_().startswith(b"\x89PNG")
            shown += 1
    assert shown >= 3
