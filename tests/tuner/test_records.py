"""Training data in its forms: what they become, and what is wrong with a line, file and line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from liquid_mlx import FileError, SettingsError, load
from liquid_mlx.config import LiquidConfig
from liquid_mlx.tuner.encode import Encoder, Task, encode_all
from liquid_mlx.tuner.records import Record, parse_share, read_source
from tests.tuner.conftest import lines


@pytest.fixture
def config(tiny):
    return LiquidConfig.read(tiny)


def codes(config, value=3):
    rows, columns = config.grid(config.sizes[0])
    return [value] * (rows * columns)


def vq(config, **values):
    side = config.sizes[0].width
    return {"text": "a disc", f"vqcode_{side}": json.dumps(codes(config)), **values}


TALK = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "a disc"}]
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def read(path, config, **options):
    source, problems = read_source(str(path), config, **options)
    assert problems == []
    return source.records


def test_a_folder_of_pictures_has_their_captions(pictures, config):
    found = read(pictures, config)
    assert [record.text for record in found] == [f"a disc of size {i}" for i in range(6)]
    assert found[2].picture.path == pictures / "2.png"


def test_missing_captions_are_problems_unless_the_model_writes_them(pictures, config):
    (pictures / "2.txt").unlink()
    (pictures / "3.txt").write_text(" \n")
    (pictures / "4.txt").write_bytes(b"\xff\xfe\x00\xd8")
    _, problems = read_source(str(pictures), config)
    assert [problem.where.rsplit("/", 1)[-1] for problem in problems] == ["2.png", "3.txt", "4.txt"]
    source, problems = read_source(str(pictures), config, captions=True)
    assert len(problems) == 2
    assert [record.text for record in source.records][2] is None


def test_lines_of_liquid_encode_bring_their_codes(config, tmp_path):
    path = lines(tmp_path / "a.jsonl", vq(config), vq(config, vqcode_multi768="no", width="no"))
    for record in read(path, config):
        assert record.text == "a disc"
        assert record.size == config.sizes[0]
        assert (
            record.picture.codes.tolist()
            == np.reshape(codes(config), config.grid(config.sizes[0])).tolist()
        )


def test_llavas_conversations_show_their_picture_where_it_stands(pictures, config, tmp_path):
    more = [
        {"from": "human", "value": "hello"},
        {"from": "gpt", "value": "hi"},
        {"from": "human", "value": "what?\n<image>"},
        {"from": "gpt", "value": "a disc"},
    ]
    rows = [
        {"id": 1, "image": "1.png", "conversations": TALK},
        {"image": ["2.png"], "conversations": more},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    first, second = read(tmp_path / "a.json", config, image_folder=pictures)
    assert first.messages[0] == {"role": "user", "content": "what?"}
    assert first.shown[0].path == pictures / "1.png"
    assert list(second.shown) == [2]
    assert len(second.messages) == 4
    assert read(lines(pictures / "a.jsonl", *rows), config)[0].shown[0].path.is_file()


def test_mlx_lms_chat_completions_and_text_are_read(config, tmp_path):
    system = {"role": "system", "content": "be short"}
    path = lines(
        tmp_path / "a.jsonl",
        {"messages": CHAT},
        {"messages": [system, *CHAT]},
        {"prompt": "hi", "completion": "hello"},
        "",
        {"text": "some words"},
    )
    chat, told, completion, text = read(path, config)
    assert list(chat.messages) == list(completion.messages) == CHAT
    assert told.messages[0]["content"] == "be short\n\nhi"
    assert text.text == "some words"
    assert text.where.endswith("line 5")


def test_a_folder_of_mlx_lms_files_brings_its_own_validation(config, tmp_path):
    lines(tmp_path / "train.jsonl", {"messages": CHAT}, {"messages": CHAT})
    lines(tmp_path / "valid.jsonl", {"text": "kept"})
    source, _ = read_source(str(tmp_path), config)
    assert len(source.records) == 2
    assert [record.text for record in source.held_out] == ["kept"]


def test_pairs_of_pictures_and_texts_are_read(pictures, config):
    path = lines(pictures / "a.jsonl", {"image_path": "0.png", "text_prompt": "a disc"})
    (record,) = read(path, config)
    assert (record.text, record.picture.path) == ("a disc", pictures / "0.png")


def test_shares_stand_behind_a_colon(tmp_path):
    (tmp_path / "x:2").mkdir()
    assert parse_share("a/b.jsonl:0.3") == ("a/b.jsonl", 0.3)
    assert parse_share("a/b.jsonl") == ("a/b.jsonl", 1.0)
    assert parse_share("C:data") == ("C:data", 1.0)
    assert parse_share(str(tmp_path / "x:2")) == (str(tmp_path / "x:2"), 1.0)
    for wrong in ("a:0", "a:-1", "a:1000", "a:nan"):
        with pytest.raises(SettingsError, match="share"):
            parse_share(wrong)


def wrong_lines():
    """Name -> (a line, a part of what is said about it); {} stand for the config's own."""
    two = [*TALK, *TALK]
    yield "no JSON", "{nonsense", "not JSON"
    yield "a list", [1, 2], "not a JSON object"
    yield "a number", 7, "not a JSON object"
    yield "none of the kinds", {"caption": "x"}, "none of the fields"
    yield "no text with the codes", {"text": None}, "text is not a text"
    yield "codes that are no list", {"vq": "hello"}, "not a list of"
    yield "too few codes", {"vq": "[1, 2]"}, "not a list of"
    yield "codes that are no numbers", {"vq": '["a"]'}, "not a list of"
    yield "codes that are fractions", {"vq": [0.5]}, "not a list of"
    yield "a code out of range", {"code": 99999}, "codes are not all 0 to"
    yield "a negative code", {"code": -1}, "codes are not all 0 to"
    yield "codes of another size", {"side": 8}, "the model draws"
    yield "codes of a size that is no number", {"side": "large"}, "no width and height"
    yield "two lists of codes", {"extra": True}, "2 lists of codes"
    yield "conversations that are no list", {"conversations": "hi"}, "not a list of objects"
    yield "turns that are no objects", {"conversations": ["hi"]}, "not a list of objects"
    yield "no turns", {"conversations": []}, "its turns are not"
    yield "no answer", {"conversations": TALK[:1], "image": "0.png"}, "its turns are not"
    yield "an answer first", {"conversations": TALK[1:]}, "its turns are not"
    yield "an unknown role", {"conversations": [{"from": "robot", "value": "x"}]}, "its turns"
    yield "an empty turn", {"conversations": [{"from": "human", "value": " "}]}, "not a text"
    yield "no picture for its mark", {"conversations": TALK}, "does not belong to a picture"
    yield "a picture that is not there", {"conversations": TALK, "image": "x.png"}, "is not there"
    yield "a picture that is no name", {"conversations": TALK, "image": [3]}, "is not a text"
    yield "two pictures for one mark", {"conversations": TALK, "image": ["0.png"] * 2}, "no <image>"
    yield "two marks for one picture", {"conversations": two, "image": "0.png"}, "does not belong"
    yield "messages that are no list", {"messages": {"role": "user"}}, "not a list of objects"
    yield "messages without content", {"messages": [{"role": "user"}]}, "no content"
    yield "a message of parts", {"messages": [{"role": "user", "content": [1]}]}, "not a text"
    yield "messages without an answer", {"messages": CHAT[:1]}, "its turns are not"
    yield "two questions on end", {"messages": [CHAT[0], *CHAT]}, "its turns are not"
    yield "a prompt without completion", {"prompt": "hi"}, "no completion"
    yield "an empty prompt", {"prompt": "", "completion": "x"}, "prompt is not a text"
    yield "a text that is a number", {"text": 3}, "text is not a text"
    yield "a pair without text", {"image_path": "0.png"}, "has no text"
    yield "a pair whose picture is missing", {"image_path": "x.png", "text": "x"}, "not there"
    yield "a pair whose picture is a folder", {"image_path": ".", "text": "x"}, "not there"


@pytest.mark.parametrize(
    ("line", "said"), [(b, c) for _, b, c in wrong_lines()], ids=[a for a, _, _ in wrong_lines()]
)
def test_a_wrong_line_is_told_with_its_file_and_number(pictures, config, line, said):
    if (isinstance(line, dict) and line.keys() <= {"vq", "code", "side", "extra"}) or line == {
        "text": None
    }:
        side = config.sizes[0].width
        key = f"vqcode_{line.get('side', side)}"
        value = line.get("vq", codes(config, line.get("code", 3)))
        line = {"text": line.get("text", "a disc"), key: value} | (
            {"vqcode_9": "[1]"} if "extra" in line else {}
        )
    path = lines(pictures / "a.jsonl", {"text": "good"}, line, {"text": "good"})
    source, problems = read_source(str(path), config)
    assert len(source.records) == 2
    (problem,) = problems
    assert problem.where == f"{path}, line 2"
    assert said in problem.what
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("missing.jsonl", None, "no training data"),
        ("empty.jsonl", b"", "no line"),
        ("blank.jsonl", b"\n \n", "no line"),
        ("binary.jsonl", b"\xff\xfe\x00", "not UTF-8"),
        ("broken.json", b"[{", "cannot be read as JSON"),
    ],
)
def test_a_file_that_is_no_data_is_told(config, tmp_path, name, data, said):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError, match=said):
        read_source(str(tmp_path / name), config)


def test_a_folder_without_pictures_is_told(config, tmp_path):
    with pytest.raises(FileError, match="neither pictures"):
        read_source(str(tmp_path), config)


@pytest.fixture(scope="module")
def liquid(converted):
    return load(converted("llama_tiny"))


def test_pictures_are_encoded_once_by_their_content(liquid, pictures, tmp_path):
    records, _ = read_source(str(pictures), liquid.config)
    first = Encoder(liquid, tmp_path / "cache")
    found, problems = encode_all(liquid, first, records.records)
    assert (first.encoded, problems) == (6, [])
    assert all(record.picture.path is None for record in found)
    (pictures / "0.png").rename(pictures / "moved.png")
    second = Encoder(liquid, tmp_path / "cache")
    task = Task(pictures / "moved.png", liquid.config.sizes[0])
    np.testing.assert_array_equal(second.codes(task), found[0].picture.codes)
    assert second.encoded == 0
    Image.new("RGB", (40, 40), "red").save(pictures / "moved.png")
    third = Encoder(liquid, tmp_path / "cache")
    third.codes(task)
    assert third.encoded == 1


def test_a_damaged_cache_costs_time_and_nothing_else(liquid, pictures, tmp_path):
    task = Task(pictures / "0.png", liquid.config.sizes[0])
    expected = Encoder(liquid, tmp_path).codes(task)
    (file,) = tmp_path.rglob("*.npy")
    for data in (b"", b"nonsense", file.read_bytes()[:-3]):
        file.write_bytes(data)
        np.testing.assert_array_equal(Encoder(liquid, tmp_path).codes(task), expected)


def test_what_is_asked_about_is_seen_as_at_generation(liquid, pictures, tmp_path):
    found = Encoder(liquid, tmp_path).codes(Task(pictures / "3.png", None))
    np.testing.assert_array_equal(found, liquid.encode(pictures / "3.png"))


def test_pictures_that_cannot_be_read_are_told_by_name(liquid, pictures, tmp_path):
    (pictures / "1.png").write_bytes(b"no picture")
    (pictures / "2.png").write_bytes(b"")
    source, _ = read_source(str(pictures), liquid.config)
    found, problems = encode_all(liquid, Encoder(liquid, tmp_path), source.records)
    assert len(found) == 4
    assert [problem.where.rsplit("/", 1)[-1] for problem in problems] == ["1.png", "2.png"]
    assert "1.png is not a picture" in problems[0].what


def test_records_keep_their_place_when_they_are_described():
    assert Record("here").with_text("x") == Record("here", "x")
