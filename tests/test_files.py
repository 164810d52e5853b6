"""Files of the user: nothing endless is read, nothing is half-written, nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquid_mlx.errors import CheckpointError, FileError
from liquid_mlx.files import (
    MAX_JSON,
    atomic_file,
    atomic_write,
    read_bytes,
    read_json,
    read_tokenizer,
    read_weight_map,
    remove_stale,
    user_path,
)

GOLDEN = Path(__file__).parent / "data" / "golden"


def test_pipes_devices_and_folders_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero")):
        with pytest.raises(FileError, match=r"not a regular file|directory"):
            read_bytes(path, 100)
    with pytest.raises(FileError, match="no file"):
        read_bytes(tmp_path / "missing", 100)
    with pytest.raises(FileError, match="cannot be read"):
        read_bytes(Path("zero\0byte"), 100)


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert read_bytes(path, 100) == bytes(100)
    with pytest.raises(CheckpointError, match="too large"):
        read_bytes(path, 99, CheckpointError)
    with path.open("wb") as file:
        file.truncate(MAX_JSON + 1)
    with pytest.raises(FileError, match="too large"):
        read_json(path)


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "1e999", "[", "[]", "1", '"\\ud800', "[" * 10**6, "9" * 10**5, ""]
)
def test_json_that_is_no_object_of_finite_numbers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    for written in (text, f'{{"a": [{text}'):
        path.write_text(written)
        with pytest.raises(FileError, match="JSON"):
            read_json(path)


@settings(deadline=None)
@given(
    name=st.text(max_size=20) | st.integers() | st.none() | st.lists(st.text()),
    folder=st.sampled_from(["", "../", "/etc/", "./", "a/b/"]),
)
def test_a_weight_map_names_files_beside_it(
    tmp_path_factory: pytest.TempPathFactory, name: object, folder: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "index.json"
    wanted = f"{folder}{name}" if isinstance(name, str) else name
    path.write_text(json.dumps({"weight_map": {"w": wanted}}))
    with contextlib.suppress(CheckpointError):
        found = read_weight_map(path)["w"]
        assert Path(found).name == found
        assert not {"*", "?", "["} & set(found)


@pytest.mark.parametrize("name", ["9" * 4000, "w" * 256, "ä" * 200])
def test_a_weight_map_names_files_that_can_be_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(CheckpointError, match="not a file's name") as raised:
        read_weight_map(path)
    assert len(str(raised.value)) < 600


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, "old")

    def stopped() -> None:
        with atomic_file(path) as tmp:
            tmp.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from liquid_mlx.files import atomic_file
with atomic_file(Path(sys.argv[1])) as tmp:
    tmp.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    processes = []
    for name in ("killed", "alive"):
        command = [sys.executable, "-c", program, str(tmp_path / name)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert processes[-1].stdout is not None
        assert processes[-1].stdout.readline()
    killed, alive = processes
    try:
        assert len(list(tmp_path.iterdir())) == 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        atomic_write(tmp_path / "mine", "data")
        assert len(list(tmp_path.iterdir())) == 2  # mine, and that of the living process
    finally:
        alive.kill()
        alive.wait()


def test_folders_that_a_killed_process_left_are_removed_and_others_stay(tmp_path: Path) -> None:
    stale, strange = tmp_path / f".liquid-mlx-{'0' * 16}.tmp", tmp_path / ".liquid-mlx-mine.tmp"
    for folder in (stale, strange):
        folder.mkdir()
        (folder / "file").touch()
    remove_stale(tmp_path)
    assert list(tmp_path.iterdir()) == [strange]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "file"
    atomic_write(path, "first", overwrite=False)

    def late() -> None:
        with atomic_file(path, overwrite=False) as tmp:
            tmp.write_text("second")

    with pytest.raises(FileExistsError):
        late()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", ["~tilde.png", "~", "~nobody-of-this-name", "a/~b/c", "-", "...", "~ /x", "~\x1b[31m"]
)
def test_names_with_a_tilde_are_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "~ ").mkdir()
    assert user_path(name) == (tmp_path if name == "~" else Path(name))


def test_a_home_that_nobody_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("~nobody-of-this-name/x.png", Path("~nobody-of-this-name/a/b")):
        with pytest.raises(FileError, match="no home folder ~nobody"):
            user_path(name)
    (tmp_path / "~nobody-of-this-name").mkdir()
    assert user_path("~nobody-of-this-name/x.png") == Path("~nobody-of-this-name/x.png")


# As in the tokenizer.json of Meta-Llama-3-8B and of Qwen2.5.
PUBLISHED = {
    "Llama 3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "Qwen2.5": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


@pytest.mark.parametrize("family", PUBLISHED)
def test_the_published_patterns_are_known(family: str, tmp_path: Path) -> None:
    steps = split(PUBLISHED[family])
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    steps["pretokenizers"].append({**bytes_, "use_regex": False})
    normalizer = {"type": "NFC"} if family == "Qwen2.5" else None
    path = changed_tokenizer(tmp_path, pre_tokenizer=steps, normalizer=normalizer)
    assert read_tokenizer(path)


def changed_tokenizer(folder: Path, **changes: object) -> Path:
    path = folder / "tokenizer.json"
    values = json.loads((GOLDEN / "llama_tiny" / "tokenizer.json").read_text())
    path.write_text(json.dumps({**values, **changes}))
    return path


def split(pattern: str) -> dict:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return {"type": "Sequence", "pretokenizers": [{**step, "invert": False}]}


HOSTILE_STEPS = {
    "nested repetition": {"pre_tokenizer": split("(" * 30 + "a" + "+)" * 30)},
    "many repetitions": {"pre_tokenizer": split(r"\s*" * 30 + "x")},
    "huge count": {"pre_tokenizer": split("a{99999}{99999}")},
    "regex in a normalizer": {
        "normalizer": {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}
    },
    "long prefix": {"normalizer": {"type": "Prepend", "prepend": "x" * 10**6}},
    "long replacement": {
        "normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 10**6}
    },
    "growing": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa" * 40}]
            * 1000,
        }
    },
    "foreign normalizer": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AA=="}},
    "foreign model": {"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}},
    "long suffix": {
        "model": {"type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": "x" * 10**6}
    },
    "template of thousands": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 5000,
            "pair": [],
            "special_tokens": {},
        }
    },
    "no model": {"model": None},
    "a number": {"normalizer": 5},
}


@pytest.mark.parametrize("changes", HOSTILE_STEPS.values(), ids=HOSTILE_STEPS.keys())
def test_hostile_tokenizers_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(CheckpointError, match="is not a tokenizer") as error:
        read_tokenizer(changed_tokenizer(tmp_path, **changes))
    assert len(str(error.value)) < 600


def test_padding_and_truncation_are_left_out(tmp_path: Path) -> None:
    padding = {
        "strategy": {"Fixed": 2_000_000_000},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    path = changed_tokenizer(tmp_path, padding=padding, truncation=truncation)
    plain = read_tokenizer(GOLDEN / "llama_tiny" / "tokenizer.json")
    assert read_tokenizer(path).encode("a red circle").ids == plain.encode("a red circle").ids


@settings(deadline=None)
@given(junk=st.binary(max_size=50), at=st.integers(0, 2000))
def test_damaged_tokenizers_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "tokenizer.json"
    shutil.copyfile(GOLDEN / "llama_tiny" / "tokenizer.json", path)
    data = path.read_bytes()
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    with contextlib.suppress(CheckpointError):
        read_tokenizer(path)


@pytest.mark.parametrize("name", ["a\0b", "\0", "a" * 300, "x/" * 3000, 5, None, b"x", ["x"]])
def test_what_is_no_path_is_told(name):
    with pytest.raises(FileError, match="path"):
        user_path(name)


def test_errors_are_clean_and_short():
    message = str(FileError("a\x1b[31m b\n" * 1000))
    assert message.isprintable()
    assert len(message) <= 500
