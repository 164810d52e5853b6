"""docs/architecture.md walks through files that exist, and names each once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("walk", ["From `liquid generate`", "From `liquid convert`"])
def test_each_step_of_a_walk_is_another_file(walk: str) -> None:
    section = PAGE.split(f"## {walk}", 1)[1].split("\n## ", 1)[0]
    steps = re.findall(r"^\d+\. `([\w/.]+)`:", section, re.MULTILINE)
    assert len(steps) == len(set(steps)) > 20
    assert [step for step in steps if not (ROOT / step).is_file()] == []
