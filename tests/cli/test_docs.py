"""The documents are true: the reference is current, every command in them runs as written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from liquid_mlx.cli.main import COMMANDS, load_command
from liquid_mlx.cli.reference import reference
from tests.cli.conftest import BUNDLED, LIQUID

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("drawing.md", "editing.md", "vqa.md", "finetuning.md", "evaluating.md")


def script(page: str) -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return "".join(blocks)


def test_the_reference_is_current() -> None:
    assert (DOCS / "cli.md").read_text() == reference()


OWN_DATA = ["evaluate custom", "evaluate draw", "evaluate judge", "evaluate report"]
ALONE = [name for name in COMMANDS if name not in ("convert", "bench", "fuse", "evaluate", "serve")]


@pytest.mark.parametrize("command", ALONE + OWN_DATA)
def test_every_flag_is_in_a_command_that_runs(command: str) -> None:
    text = "".join(map(script, PAGES)).replace("\\\n", " ")
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
def proxy() -> Iterator[str]:
    """A web proxy that answers every address with a picture: example.com, without the network."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(Path("photo.jpg").read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs_as_written(
    page: str,
    model: str,
    photos: Path,
    proxy: str,
    converted: Callable[..., Path],
) -> None:
    Image.open(photos / "red.png").resize((200, 100)).save("photo.jpg")
    Path("prompts.txt").write_text("a red circle\na blue square\n")
    for name, lines in {
        "questions.jsonl": [
            {"question_id": i, "image": f"{name}.png", "text": "Is it red?"}
            for i, name in enumerate(("red", "blue", "green"))
        ],
        "pairs.jsonl": [{"image_path": "photos/red.png", "text": "a red frame"}],
    }.items():
        Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copytree(converted("gemma_tiny"), "my-models/old")
    if not (BUNDLED / "config.json").is_file():
        shutil.copytree(model, "demo")
    environment = {
        **os.environ,
        "PATH": f"{Path(LIQUID).parent}:{os.environ['PATH']}",
        "http_proxy": proxy,
        "no_proxy": "",
    }
    done = subprocess.run(
        ["bash", "-exo", "pipefail", "-c", script(page)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
