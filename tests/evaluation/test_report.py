"""Reports: nothing lost or rounded, text from outside harmless, side by side."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import Item, Scored, mean
from liquid_mlx.evaluation.page import page
from liquid_mlx.evaluation.plots import bars, curves
from liquid_mlx.evaluation.report import examples, markdown, read_report, scored_report

NASTY = '<script>alert("x")</script> | & \x1b[31m'


def made(model: str = "demo", share: float = 0.5) -> dict[str, Any]:
    rows = [(float(i % 10 < share * 10), 1) for i in range(100)]
    items = [Item(i, NASTY, NASTY, "red", score, "a.png") for i, (score, _) in enumerate(rows)]
    scored = Scored("textvqa", {"all": rows, "number": rows[:7]}, mean("accuracy"), items)
    return scored_report(scored, model=model, settings={"temperature": 0}, seconds=1.5)


class Tags(HTMLParser):
    """Tags that were opened, and every address in them."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_needs_no_other_file_and_runs_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "a.png")
    tags = Tags(page([made()], tmp_path))
    assert "script" not in tags.seen
    assert {"svg", "rect", "table", "img"} <= set(tags.seen)
    for address in tags.addresses:
        head, data = address.split(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (160, 80)


def test_pictures_outside_the_folder_are_not_taken_into_a_page(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    found = made()
    found["examples"] = [{"question": "?", "score": 1, "image": "../secret.png"}]
    assert "img" not in Tags(page([found], tmp_path / "in")).seen


def test_a_report_survives_its_json(tmp_path: Path) -> None:
    found = made()
    (tmp_path / "a.json").write_text(json.dumps(found))
    assert read_report(tmp_path / "a.json") == found
    assert found["versions"].keys() >= {"liquid-mlx", "python", "mlx"}
    assert found["machine"]["cores"]


def test_reports_stand_side_by_side() -> None:
    one, other = made("demo", 0.5), made("demo-2bit", 0.3)
    del other["scores"]["number"]
    text = markdown([one, other])
    (line,) = [line for line in text.splitlines() if line.startswith("| number | accuracy")]
    assert line.endswith("| - |")
    (line,) = [line for line in text.splitlines() if line.startswith("| all | accuracy")]
    assert "| 0.5 (" in line
    assert "| 0.3 (" in line
    assert "<script" not in page([one, other])


def test_markdown_keeps_its_columns_whatever_a_model_is_called() -> None:
    for line in markdown([made("a|b\nc")]).splitlines():
        if line.startswith("| all"):
            assert line.replace("\\|", "").count("|") == 4


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"task": "x"}', '{"task": "x", "scores": []}', '{"task": 1, "scores": {}}',
     '{"task": "x", "scores": {"a": {"b": "c"}}}', '{"task": "x", "scores": {"a": 1}}',
     '{"task": "x", "scores": {"a": {"b": NaN}}}', '{"task": "x", "scores": {"a": {"b": 1e999}}}',
     '{"task": "x", "scores": {}, "intervals": {"a": {"b": [1]}}}',
     '{"task": "x", "scores": {}, "label": 3}'],
)  # fmt: skip
def test_what_is_no_report_ends_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileError):
        read_report(tmp_path / "a.json")


@pytest.mark.parametrize(
    "odd",
    [
        {"examples": [1, {"score": "x"}, {"question": 3, "score": 1, "image": []}]},
        {"pictures": "x", "curves": [1]},
        {"curves": {"a": {"x": 1, "y": 2, "lines": {"b": [1]}}}},
        {"model": [1], "settings": {"a": [None]}, "machine": 2},
    ],
)
def test_odd_parts_of_a_report_do_not_end_in_an_error(tmp_path: Path, odd: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(made() | odd))
    found = read_report(tmp_path / "a.json")
    Tags(page([found], tmp_path))
    assert markdown([found])


def test_examples_are_half_wrong_and_half_right_where_there_are_both() -> None:
    items = [Item(i, "", "", "", float(i >= 90)) for i in range(100)]
    shown = examples(items, 24)
    assert [item.score for item in shown] == [0.0] * 14 + [1.0] * 10
    assert len({item.id for item in shown}) == 24
    assert len(examples(items[:5], 24)) == 5


def test_bars_are_as_long_as_their_values() -> None:
    text = bars(["a", "b"], [[1.0], [0.5]], [[[0.9, 1.0]], [None]])
    widths = [float(part.split('"')[0]) for part in text.split('width="')[2:]]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
    assert bars(["none"], [[None]], [[None]]).startswith("<svg")
    assert curves({}, "x", "y") == ""
