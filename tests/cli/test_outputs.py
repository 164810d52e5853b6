"""Names of files: filled in, safe, distinct, and never overwritten unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquid_mlx.cli.outputs import check_free, picture_paths, read_lines, slug
from liquid_mlx.errors import FileError
from liquid_mlx.files import atomic_write

NASTY = st.text(st.characters(codec="utf-8"), max_size=300) | st.sampled_from(
    [
        "../../etc/passwd",
        "..",
        "a/b\\c",
        "{seed}",
        "\x1b[2J",
        "con\0",
        "-rf",
        "é" * 300,
        "红色的圆" * 99,
    ]
)


@given(NASTY)
def test_a_prompt_becomes_a_safe_part_of_a_name(prompt: str) -> None:
    name = slug(prompt)
    assert name
    assert len(name.encode()) <= 100
    assert not set("/\\\0{}.\x1b\n") & set(name)
    assert not name.startswith("-")


@given(st.lists(st.tuples(NASTY, st.integers(0, 2**32 - 1)), min_size=1, max_size=5))
def test_every_picture_has_a_name_of_its_own_inside_the_folder(
    pictures: list[tuple[str, int]],
) -> None:
    for pattern in ("out/{prompt}.png", "out/{seed}.png", "out/x.png", "out/{prompt}-{seed}.png"):
        paths = picture_paths(pattern, pictures)
        assert len(set(paths)) == len(pictures)
        assert {path.parent for path in paths} == {Path("out")}


def test_placeholders() -> None:
    paths = picture_paths("{index}/{prompt}_{seed}.png", [("A red, red circle!", 7), ("b", 8)])
    assert paths == [Path("1/A-red-red-circle_7.png"), Path("2/b_8.png")]


def test_a_folder_takes_the_default_name(tmp_path: Path) -> None:
    assert picture_paths("new/", [("a b", 1)]) == [Path("new/a-b-1.png")]
    assert picture_paths(str(tmp_path), [("a b", 1)]) == [tmp_path / "a-b-1.png"]


def test_without_placeholders_pictures_are_numbered() -> None:
    assert picture_paths("a.png", [("x", 1), ("y", 2)]) == [Path("a-1.png"), Path("a-2.png")]


@pytest.mark.parametrize("name", ["out.jpg", "out", "out.png.webp"])
def test_only_png_is_written(name: str) -> None:
    with pytest.raises(FileError, match="PNG"):
        picture_paths(name, [("x", 1)])


def test_what_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    check_free([path], overwrite=False)
    path.touch()
    check_free([path], overwrite=True)
    with pytest.raises(FileError, match="--overwrite"):
        check_free([path], overwrite=False)
    with pytest.raises(FileError, match="folder"):
        check_free([tmp_path], overwrite=True)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        atomic_write(tmp_path / "taken", b"data")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]
    atomic_write(tmp_path / "new" / "file", "é")
    assert (tmp_path / "new" / "file").read_bytes() == "é".encode()


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_lines_that_are_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(data)
    with pytest.raises(FileError, match="lines"):
        read_lines(tmp_path / "lines")


def test_lines_are_stripped_and_blank_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes("\ufeffa\r\n\n  b \n".encode())
    assert read_lines(tmp_path / "lines") == ["a", "b"]
