"""Files that commands read, with anything in them: what they say, or one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from liquid_mlx.adapters import read_adapter
from liquid_mlx.cli.commands.codes import read_codes
from liquid_mlx.cli.printer import print_fields
from liquid_mlx.cli.tasks import stored_settings
from liquid_mlx.cli.terminal import safe_output
from liquid_mlx.cli.training_data import pairs
from liquid_mlx.cli.vqa import Answers, Question, read_questions
from liquid_mlx.config import LiquidConfig
from liquid_mlx.distributed.ranks import Team
from liquid_mlx.errors import LiquidError
from liquid_mlx.evaluation.page import page
from liquid_mlx.evaluation.prompt_sets import read_set
from liquid_mlx.evaluation.report import markdown, read_report
from liquid_mlx.params import ImageParams
from liquid_mlx.tuner.checkpoint import read as read_state
from liquid_mlx.tuner.records import read_source
from liquid_mlx.tuner.report import Log, curve
from liquid_mlx.tuner.settings import TrainSettings
from tests.test_display import ANY, drives_a_terminal

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**62, 2**200) | st.floats() | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=6,
)
TEXT = st.sampled_from(["", "{", "[" * 10**5, "1", "null", '"x"', "NaN", "\\", "9" * 5000, "\0"])
anything = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def outcome(read: Callable[[], Any]) -> Any:
    """What was read, or None after one sentence of sensible length."""
    try:
        return read()
    except LiquidError as error:
        message = str(error)
    assert len(message) < 600
    assert message.endswith((".", "?", '"', "lines: split it."))
    return None


def spoiled(line: dict[str, Any]) -> st.SearchStrategy[str]:
    """A line of JSON with one field replaced, one left out, or no such line."""
    replaced = st.tuples(st.sampled_from(sorted(line)), VALUE).map(lambda p: {**line, p[0]: p[1]})
    fewer = st.sampled_from(sorted(line)).map(lambda name: {k: line[k] for k in line if k != name})
    return (replaced | fewer | VALUE).map(json.dumps) | TEXT


QUESTION = {"question_id": 1, "image": "a.png", "text": "What?"}


@anything
@given(spoiled(QUESTION))
def test_questions(tmp_path: Path, line: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(f"{json.dumps(QUESTION)}\n{line}\n")
    for question in outcome(lambda: read_questions(file)) or []:
        assert isinstance(question.id, (int, str))
        assert isinstance(question.image, str)
        assert isinstance(question.text, str)


@anything
@given(spoiled({"question_id": 1, "prompt": "What?", "text": "x"}))
def test_answers(tmp_path: Path, line: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f"{line}\n")
    outcome(lambda: Answers(file, [Question(1, "a.png", "What?")], Team()))
    assert file.read_text() == f"{line}\n"


@anything
@given(spoiled({"image_path": "~/a.png", "text": "x"}))
def test_pairs(tmp_path: Path, line: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f"{line}\n")
    for pair in outcome(lambda: pairs(file)) or []:
        assert isinstance(pair.text, str)


@anything
@given(st.sampled_from([".json", ".jsonl", ".npy"]), VALUE.map(json.dumps) | TEXT)
def test_codes(tmp_path: Path, suffix: str, text: str) -> None:
    file = tmp_path / f"codes{suffix}"
    file.write_text(text)
    for grid in outcome(lambda: read_codes(file)) or []:
        assert isinstance(grid, np.ndarray)


@anything
@given(st.binary(max_size=40), st.integers(0, 140))
def test_codes_of_damaged_arrays(tmp_path: Path, junk: bytes, at: int) -> None:
    file = tmp_path / "codes.npy"
    np.save(file, np.arange(4).reshape(2, 2))
    data = file.read_bytes()
    file.write_bytes(data[:at] + junk + data[at + len(junk) :])
    for grid in outcome(lambda: read_codes(file)) or []:
        assert isinstance(grid, np.ndarray)


SETTINGS = {"prompt": "x", "seed": 1, "top_k": 5, "width": 64, "height": 64, "guidance": 2.0}
SETTINGS |= {"temperature": 1.0, "top_p": 0.9, "model": "demo", "dtype": "float32"}


@anything
@given(spoiled(SETTINGS), st.booleans())
def test_settings_of_pictures(tmp_path: Path, text: str, inside: bool) -> None:
    file = tmp_path / ("in.png" if inside else "in.json")
    if inside:
        info = PngInfo()
        info.add_itxt("liquid", text)
        Image.new("RGB", (2, 2)).save(file, pnginfo=info)
    else:
        file.write_text(text)
    found = outcome(lambda: stored_settings(file))
    if found:
        own = {name: found[name] for name in ImageParams.__dataclass_fields__ if name in found}
        outcome(lambda: ImageParams(**own))


@anything
@given(st.dictionaries(ANY, VALUE, max_size=5))
def test_any_settings_can_be_shown(values: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *text, **_: lines.extend(text))
        print_fields({name: str(value) for name, value in values.items()})
    assert not drives_a_terminal("".join(lines))


def test_a_flood_of_settings_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    with safe_output():
        print_fields({"name" * 10_000: "value" * 10_000} | {f"{i}": "x" * 999 for i in range(9999)})
    shown = capsys.readouterr().out
    assert len(shown) < 200_000
    assert "and 9900 more" in shown


TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "x"}]
LESSONS = [
    {"conversations": TURNS, "image": "a.png"},
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    {"vqcode_multi768": "[1]", "width": "64", "height": "64", "text": "x"},
    {"vqcode_64": "[1, 2]", "text": "x"},
    {"image_path": "a.png", "text": "x"},
    {"prompt": "x", "completion": "y"},
]


@anything
@given(st.sampled_from(LESSONS).flatmap(spoiled))
@example('{"conversations": [], "image": 5}')
@example('{"conversations": [], "image": null}')
@example('{"vqcode_%s": "[1]", "text": "x"}' % ("9" * 5000))
@example('{"vqcode_multi768": "[1]", "width": "%s", "height": 1, "text": "x"}' % ("9" * 5000))
@example('{"vqcode_multi768": "[1]", "width": "\u0666\u0664", "height": 64, "text": "x"}')
def test_training_data(tmp_path: Path, converted: Callable[..., Path], line: str) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text(f"{line}\n")
    config = LiquidConfig.read(converted("gemma_tiny"))
    source, problems = outcome(lambda: read_source(str(file), config)) or (None, [])
    assert all(len(problem.what) < 600 for problem in problems)
    for record in source.records if source else ():
        assert record.picture or record.text or record.messages


@anything
@given(spoiled({"step": 1, "loss": 2.0, "code_loss": None, "valid_loss": 1.5}))
@example('{"step": 1, "valid_loss": "x"}')
@example('{"step": true, "loss": 1}')
@example('{"step": 1, "loss": 1%s}' % ("0" * 400))
def test_logs_of_training(tmp_path: Path, line: str) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(f'{{"step": 1, "loss": 3.0}}\n{line}\n')
    curve(tmp_path / "loss.png", Log(file, 5).rows)


SKILLS = {"counting": [1], "colour": [1, 2]}
GENERATED = {"name": {"category": "animals", "prompt": "a cat"}}


@anything
@given(
    st.sampled_from(
        [("genai", SKILLS), ("mjhq", GENERATED), ("geneval", {"prompt": "a cat"})]
    ).flatmap(lambda pair: st.tuples(st.just(pair[0]), spoiled(pair[1])))
)
@example(("genai", '{"a": 1}'))
@example(("genai", '{"a": null}'))
@example(("genai", '{"a": "1"}'))
@example(("mjhq", '{"a\\u0000b": {"category": "x", "prompt": "p"}}'))
@example(("mjhq", '{"a": {"category": "..", "prompt": "p"}}'))
def test_sets_of_prompts(tmp_path: Path, case: tuple[str, str]) -> None:
    name, text = case
    (tmp_path / "prompts.txt").write_text("a cat\n")
    (tmp_path / "genai_skills.json").write_text(text)
    (tmp_path / "set").write_text(text)
    file = tmp_path / ("prompts.txt" if name == "genai" else "set")
    for task in outcome(lambda: read_set(name, file)) or []:
        for part in (*task.files, *task.beside):
            path = tmp_path / "out" / part
            assert path.resolve().is_relative_to(tmp_path / "out")


REPORT: dict[str, Any] = {
    "task": "vqav2", "scores": {"all": {"accuracy": 50.0}}, "label": "x", "model": "demo",
    "intervals": {"all": {"accuracy": [1.0, 2.0]}}, "settings": {"temperature": 0}, "curves": {},
    "examples": [{"question": "q", "answer": "a", "score": 1.0, "image": "a.png"}],
    "pictures": [{"file": "a.png", "text": "x"}],
}  # fmt: skip


@anything
@given(spoiled(REPORT), st.sampled_from(["scores", "intervals", "examples", "pictures"]), VALUE)
@example(json.dumps({**REPORT, "label": [1]}), "pictures", "")
@example(json.dumps({**REPORT, "label": {"a": 1}}), "pictures", "")
@example(json.dumps({**REPORT, "scores": {"all": {"accuracy": 10**400}}}), "pictures", "")
@example(json.dumps({**REPORT, "examples": [{"score": 10**400}]}), "pictures", "")
@example(json.dumps({**REPORT, "examples": [{"score": None}]}), "pictures", "")
@example(json.dumps({**REPORT, "examples": [{"image": "\0"}]}), "pictures", "")
@example(json.dumps({**REPORT, "scores": {f"{i}": {"a": 1} for i in range(9999)}}), "pictures", "")
def test_reports(tmp_path: Path, text: str, part: str, value: Any) -> None:
    file = tmp_path / "r.json"
    for content in (text, json.dumps({**REPORT, part: {"all": value}})):
        file.write_text(content)
        found = outcome(lambda: read_report(file))
        if found is not None:
            assert "<script" not in page([found], tmp_path)
            assert markdown([found, found])


ADAPTER = {"lora_parameters": {"scale": 2.0}, "fine_tune_type": "lora", "lora_alpha": 4, "r": 2}
ADAPTER |= {"alpha_pattern": {"gate_proj": 2}, "use_rslora": False, "peft_type": "LORA"}


@anything
@given(spoiled(ADAPTER), st.integers(0, 2), st.booleans())
@example(json.dumps(ADAPTER), 0, True)
@example(json.dumps({**ADAPTER, "use_rslora": True}), 0, True)
@example('{"lora_parameters": {"scale": -1%s}}' % ("0" * 400), 1, False)
def test_adapters(tmp_path: Path, text: str, rank: int, peft: bool) -> None:
    folder = tmp_path / f"adapter-{peft}"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(text)
    module = "model.layers.0.mlp.gate_proj"
    if peft:
        a, b = (f"base_model.model.{module}.lora_{which}.weight" for which in "AB")
        factors = {a: mx.ones((rank, 4)), b: mx.ones((6, rank))}
        mx.save_safetensors(str(folder / "adapter_model.safetensors"), factors)
    else:
        factors = {f"{module}.lora_a": mx.ones((4, rank)), f"{module}.lora_b": mx.ones((rank, 6))}
        mx.save_safetensors(str(folder / "adapters.safetensors"), factors)
    found = outcome(lambda: read_adapter(folder))
    if found is not None:
        for factor in found.factors.values():
            assert factor.a.shape == (4, rank)
            assert mx.isfinite(factor.b).all()


STATE = {"step": 1, "model": "demo", "data": "x", "settings": TrainSettings().to_dict()}


@anything
@given(spoiled(STATE), st.sampled_from(sorted(TrainSettings().to_dict())), VALUE)
@example("{}", "learning_rate", -(10**400))
@example("{}", "schedule", 5)
@example("{}", "adapter", {"rank": True})
@example('{"step": true}', "seed", 10**400)
def test_states_of_training(tmp_path: Path, text: str, name: str, value: Any) -> None:
    for said in (text, json.dumps({**STATE, "settings": {**STATE["settings"], name: value}})):
        path = tmp_path / "checkpoint.safetensors"
        path.unlink(missing_ok=True)
        mx.save_safetensors(str(path), {"a": mx.zeros((2,))}, {"liquid": said})
        saved = outcome(lambda: read_state(tmp_path))
        if saved is not None:
            assert type(saved.step) is int
