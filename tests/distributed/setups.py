"""Set-ups of several processes in which something is wrong: how to start them, and what to say."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.distributed.launch import LIQUID, started, write_hosts

DRAW = ["generate", "-p", "a red circle", "--seed", "1", "--quiet", "--model"]
PROMPTS = ["generate", "--prompt-file", "prompts.txt", "-o", "out/{index}.png", "--seed", "1"]


@dataclass(frozen=True)
class Setup:
    """What is started, in a folder with ``model``, ``other/model``, ``damaged/model``, ``empty``.

    Attributes:
        says: what stands in the one sentence.
        arguments: of ``liquid``; ``MODEL`` stands for a converted folder.
        size: processes that should be there.
        present: ranks that are; None is all.
        own: rank -> arguments of its own.
        before: rank -> Python that it runs first, for what this machine has not.
        variables: rank -> variables of its own.
        files: name -> text, in the folder.
        speaker: the rank that says it: another one where rank 0 cannot know.
    """

    says: str
    arguments: Sequence[str]
    size: int = 2
    present: Sequence[int] | None = None
    own: Mapping[int, Sequence[str]] | None = None
    before: Mapping[int, str] | None = None
    variables: Mapping[int, Mapping[str, str]] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    speaker: int = 0

    def command(self, rank: int, folder: Path) -> list[str]:
        """What a rank runs."""
        python, flag, code = LIQUID
        model = str(folder / "model")
        arguments = (self.own or {}).get(rank, self.arguments)
        first = (self.before or {}).get(rank, "")
        given = [model if text == "MODEL" else text for text in arguments]
        return [python, flag, f"{first}\n{code}", *given]

    @contextmanager
    def started(self, folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
        """The processes of the ranks that are present."""
        for name, text in self.files.items():
            (folder / name).write_text(text)
        ranks = range(self.size) if self.present is None else self.present
        hosts = {"MLX_HOSTFILE": str(write_hosts(folder, self.size))}
        own = self.variables or {}
        variables = [hosts | {"MLX_RANK": str(r)} | dict(own.get(r, {})) for r in ranks]
        commands = [self.command(rank, folder) for rank in ranks]
        with started(commands, folder, variables) as processes:
            yield processes


def prepare(folder: Path, model: Path, other: Path) -> None:
    """Write the models and folders that set-ups speak of."""
    (folder / "model").symlink_to(model)
    for name in ("other", "damaged", "empty"):
        (folder / name).mkdir()
    (folder / "other" / "model").symlink_to(other)
    damaged = Path(shutil.copytree(model, folder / "damaged" / "model"))
    for file in damaged.glob("model*.safetensors"):
        os.truncate(file, file.stat().st_size // 2)


FIX = "import liquid_mlx.{module} as m; m.{name} = {value}"
OLDER = FIX.format(module="_version", name="__version__", value="'0.0.1'")
LITTLE = FIX.format(module="memory", name="available", value="lambda: 1000")
OLD_MLX = (
    "import importlib.metadata as m; v = m.version; "
    "m.version = lambda name: '0.1' if name == 'mlx' else v(name)"
)
IN = "import os; os.chdir('{}')"
PARTS = ["--tensor-parallel"]
WAITS = {"LIQUID_MEETING": "8"}
HERE = {"MLX_HOSTFILE": "hosts.json"}
HERE_WAITS = {**HERE, **WAITS}
QUESTION = '{"question_id": 1, "image": "0.png", "text": "what?"}\n'
ASK = ["ask", "--questions", "questions.jsonl", "--model", "MODEL", "--answers", "answers.jsonl"]

SETUPS: dict[str, Setup] = {
    "a host is down": Setup(
        "has waited 8 s for the other",
        [*DRAW, "MODEL"],
        size=3,
        present=[0, 2],
        variables={0: WAITS, 2: WAITS},
    ),
    "the first host is down": Setup(
        "rank 1 (", [*DRAW, "MODEL"], present=[1], variables={1: WAITS}
    ),
    "a hostfile that is none": Setup(
        "check the hostfile",
        [*DRAW, "MODEL"],
        variables={0: HERE, 1: HERE},
        files={"hosts.json": "no hosts"},
    ),
    "more ranks than hosts": Setup(
        "rank 5 (",
        [*DRAW, "MODEL"],
        variables={0: {**HERE, "MLX_RANK": "5"}, 1: {**HERE, "MLX_RANK": "6"}},
        files={"hosts.json": '[["127.0.0.1:7001"], ["127.0.0.1:7002"]]'},
    ),
    "a host that has no address": Setup(
        "rank 0 (",
        [*DRAW, "MODEL"],
        variables={0: HERE_WAITS, 1: HERE_WAITS},
        files={"hosts.json": '[["127.0.0.1:7003"], ["no.such.host.invalid:7004"]]'},
    ),
    "the address of another machine": Setup(
        "rank 0 (",
        [*DRAW, "MODEL"],
        variables={0: HERE_WAITS, 1: HERE_WAITS},
        files={"hosts.json": '[["192.0.2.1:7005"], ["127.0.0.1:7006"]]'},
    ),
    "two processes of one rank": Setup(
        "rank 0 (", [*DRAW, "MODEL"], variables={0: WAITS, 1: {**WAITS, "MLX_RANK": "0"}}
    ),
    "another version of liquid-mlx": Setup(
        "has liquid-mlx 0.0.1", [*DRAW, "MODEL"], before={1: OLDER}
    ),
    "another version of MLX": Setup("has MLX 0.1", [*DRAW, "MODEL"], before={1: OLD_MLX}),
    "another command": Setup(
        "has the command", [*DRAW, "MODEL"], own={1: [*DRAW, "MODEL", "--count", "2"]}
    ),
    "no model on one rank": Setup("rank 1 (", [*DRAW, "model"], before={1: IN.format("empty")}),
    "no model on one rank of several that hold one": Setup(
        "rank 1 (", [*DRAW, "model", *PARTS], before={1: IN.format("empty")}
    ),
    "models that are not alike": Setup(
        "has config.json", [*DRAW, "model", *PARTS], before={1: IN.format("other")}
    ),
    "damaged weights on one rank": Setup(
        "is damaged", [*DRAW, "model", *PARTS], before={1: IN.format("damaged")}
    ),
    "heads that do not divide": Setup(
        "4 heads and 2 key-value heads cannot be split over 3 processes: use 1 or 2 or 4",
        [*DRAW, "MODEL", *PARTS],
        size=3,
    ),
    "layers that are not all": Setup(
        "are not 2 shares of 3 layers", [*DRAW, "MODEL", "--pipeline-parallel", "1,1"]
    ),
    "more processes than layers": Setup(
        "3 layers cannot be split over 4 processes",
        [*DRAW, "MODEL", "--pipeline-parallel", "auto"],
        size=4,
    ),
    "layers that are no numbers": Setup(
        "is a number of layers for each process",
        [*DRAW, "MODEL", "--pipeline-parallel", "many"],
    ),
    "both ways of splitting": Setup(
        "cannot be combined", [*DRAW, "MODEL", *PARTS, "--pipeline-parallel", "2,1"]
    ),
    "too little memory on one rank": Setup("rank 1 (", [*DRAW, "MODEL"], before={1: LITTLE}),
    "too little memory for a part": Setup("rank 1 (", [*DRAW, "MODEL", *PARTS], before={1: LITTLE}),
    "lists that differ": Setup(
        "has prompts 4",
        [*PROMPTS, "--model", "MODEL"],
        before={1: IN.format("empty")},
        files={"prompts.txt": "1\n2\n3", "empty/prompts.txt": "1\n2\n3\n4"},
    ),
    "no list on one rank": Setup(
        "rank 1 (",
        [*PROMPTS, "--model", "MODEL"],
        before={1: IN.format("empty")},
        files={"prompts.txt": "1\n2"},
    ),
    "a folder that cannot be written": Setup(
        "rank 0 (",
        [*PROMPTS, "--model", "MODEL"],
        files={"prompts.txt": "1\n2", "out": "a file"},
    ),
    "a picture that is there": Setup(
        "exists already", [*DRAW, "MODEL", "-o", "out.png"], files={"out.png": "a picture"}
    ),
    "answers that are none": Setup(
        "is not an answer", ASK, files={"questions.jsonl": QUESTION, "answers.jsonl": "no\n"}
    ),
    "chat with a model for each": Setup("add --tensor-parallel", ["chat", "--model", "MODEL"]),
    "a list from standard input": Setup(
        "use a file", ["generate", "--prompt-file", "-", "--model", "MODEL"]
    ),
    "a batch that cannot be shared": Setup(
        "A batch of 3 cannot be shared by 2 machines",
        ["finetune", "data.jsonl", "--model", "MODEL", "--batch-size", "3"],
        files={"data.jsonl": '{"text": "some words"}\n' * 9},
    ),
    "training data that differ": Setup(
        "has training data",
        ["finetune", "data.jsonl", "--model", "MODEL", "--batch-size", "2"],
        before={1: IN.format("empty")},
        files={
            "data.jsonl": '{"text": "some words"}\n' * 9,
            "empty/data.jsonl": '{"text": "other words"}\n' * 9,
        },
    ),
}
