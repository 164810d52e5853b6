"""Shared fixtures: golden checkpoints converted once per session, and the models they become."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from liquid_mlx.convert import convert
from liquid_mlx.files import read_json

settings.register_profile("busy machines, too", deadline=None)
settings.load_profile("busy machines, too")
DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden"
CASES = (
    "gemma_tiny",
    "gemma_untied_mqa",
    "gemma_bf16_bin",
    "gemma2_tiny",
    "llama_tiny",
    "qwen2_tiny",
)


def heed_interrupts() -> None:
    """For a child process: a shell starts its background jobs, such as these tests, without."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def packed() -> Iterator[None]:
    """Quantized weights stay packed, as on a GPU; commands in their own processes unpack them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("liquid_mlx.weights.available", lambda: 0)
        yield


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``converted(case, **options) -> folder``: a golden checkpoint, converted once per session."""
    root = tmp_path_factory.mktemp("converted")

    @cache
    def run(case: str, **options: object) -> Path:
        folder = root / "-".join(
            [case, *(f"{k}={v}".replace("/", "_") for k, v in options.items())]
        )
        vq = GOLDEN / read_json(GOLDEN / case / "case.json")["vq"] / "chameleon"
        convert(GOLDEN / case, folder, vqgan=vq, **options)
        return folder

    return run


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """``copy_of(folder) -> folder``: a writable copy to damage."""

    def run(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / folder.name))

    return run
