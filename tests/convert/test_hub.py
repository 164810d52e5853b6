"""Checkpoints from the Hugging Face Hub and models to it, with a stand-in for its server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from liquid_mlx.config import LiquidConfig
from liquid_mlx.convert import convert, plan
from liquid_mlx.errors import CheckpointError, HubError
from tests.convert.conftest import GOLDEN, VQGAN
from tests.convert.hub import Hub, Repo, serve

OFFICIAL, SPACE = "Junfeng5/Liquid_V1_7B", "spaces/Junfeng5/Liquid_demo"


def files_of(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {prefix + path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        hub.repos["me/tuned"] = Repo(
            {
                **files_of(GOLDEN / "llama_tiny"),
                **files_of(VQGAN, "chameleon/"),
                "pytorch_model.bin": b"the same once more",
                "optimizer.pt": b"not needed",
                "README.md": b"---\nlicense: mit\nlicense_name: its own\n---\n# Tuned\n",
            }
        )
        yield hub


def test_only_what_is_needed_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    convert("me/tuned", tmp_path / "out", verify_result=False)
    assert "optimizer.pt" not in hub.fetched()
    assert "pytorch_model.bin" not in hub.fetched()
    config = LiquidConfig.read(tmp_path / "out")
    assert config.source == {"name": "me/tuned", "revision": hub.repos["me/tuned"].sha}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model: me/tuned\n" in card
    assert "license: mit\n" in card


def test_a_plan_downloads_no_weights(hub: Hub) -> None:
    found = plan("me/tuned", quantize=True)
    assert not [name for name in hub.fetched() if name.endswith((".safetensors", ".ckpt", ".bin"))]
    assert found.parameters == plan(GOLDEN / "llama_tiny", vqgan=VQGAN).parameters


def test_the_official_repo_gets_its_image_tokenizer_from_its_space(
    hub: Hub, tmp_path: Path
) -> None:
    hub.repos[OFFICIAL] = Repo(files_of(GOLDEN / "gemma_tiny"))
    hub.repos[SPACE] = Repo({**files_of(VQGAN, "chameleon/"), "app.py": b"", "samples.bin": b"x"})
    convert(OFFICIAL, tmp_path / "out", verify_result=False)
    assert {"chameleon/vqgan.yaml", "chameleon/vqgan.ckpt"} <= hub.fetched()
    assert not {"app.py", "samples.bin"} & hub.fetched()


def test_any_space_can_be_named(hub: Hub, tmp_path: Path) -> None:
    hub.repos["spaces/other/place"] = Repo(files_of(VQGAN))
    convert(GOLDEN / "llama_tiny", tmp_path / "out", vqgan="other/place", verify_result=False)
    assert (tmp_path / "out" / "vqgan.safetensors").exists()


def test_bin_checkpoints(hub: Hub, tmp_path: Path) -> None:
    hub.repos["me/bin"] = Repo({**files_of(GOLDEN / "gemma_bf16_bin"), **files_of(VQGAN)})
    convert("me/bin", tmp_path / "out", verify_result=False)
    assert LiquidConfig.read(tmp_path / "out").dtype == "bfloat16"


def test_a_download_that_breaks_is_resumed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.break_after = 100_000
    convert("me/tuned", tmp_path / "out", verify_result=False)
    assert any(asked for _, _, asked in hub.requests)  # a Range: not from the start again


def test_what_was_downloaded_is_found_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert("me/tuned", tmp_path / "out", verify_result=False)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    convert("me/tuned", tmp_path / "again", verify_result=False)
    assert hub.requests == []
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        convert("me/other", tmp_path / "third")


def test_revisions(hub: Hub, tmp_path: Path) -> None:
    convert("me/tuned", tmp_path / "out", revision="v1", verify_result=False)
    with pytest.raises(HubError, match="no revision 'v9'"):
        convert("me/tuned", tmp_path / "other", revision="v9")


def test_a_missing_repo_is_explained(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="neither a folder here nor a repo"):
        convert("me/nothing", tmp_path / "out")


def test_a_gated_repo_is_explained(hub: Hub, tmp_path: Path) -> None:
    hub.repos["me/tuned"].gated = True
    with pytest.raises(HubError, match="accept its terms"):
        convert("me/tuned", tmp_path / "out")


def test_a_hub_that_is_gone_is_explained(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached"):
        convert("me/tuned", tmp_path / "out")


def test_a_repo_without_weights(hub: Hub, tmp_path: Path) -> None:
    files = hub.repos["me/tuned"].files
    for name in [name for name in files if "model" in name and not name.startswith("cham")]:
        del files[name]
    with pytest.raises(CheckpointError, match="has no weights"):
        convert("me/tuned", tmp_path / "out")


def test_uploads(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    done = convert("me/tuned", tmp_path / "out", quantize=True, upload_repo="me/tuned-4bit")
    assert done.url == f"{hub.url}/me/tuned-4bit"
    assert hub.repos["me/tuned-4bit"].files == files_of(tmp_path / "out")
    card = hub.repos["me/tuned-4bit"].files["README.md"].decode()
    for words in (
        *("library_name: mlx\n", "pipeline_tag: any-to-any\n", "base_model_relation: quantized\n"),
        *("--model me/tuned-4bit", "64x64", "guidance 7", "relative error", "Licence"),
    ):
        assert words in card
    hub.requests.clear()
    convert("me/tuned-4bit", tmp_path / "back", dequantize=True)  # and down again


@pytest.mark.parametrize(
    ("repo_id", "token", "offline", "words"),
    [
        ("nonsense", "t", False, "not a repo id"),
        ("me/x", "", False, "hf auth login"),
        ("me/x", "t", True, "HF_HUB_OFFLINE"),
    ],
)
def test_uploads_that_cannot_succeed_are_refused_first(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repo_id: str,
    token: str,
    offline: bool,
    words: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(HubError, match=words):
        convert(GOLDEN / "llama_tiny", tmp_path / "out", vqgan=VQGAN, upload_repo=repo_id)
    assert not (tmp_path / "out").exists()


def test_a_failed_upload_keeps_the_folder(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("tests.convert.hub._Handler._commit", lambda self, *_: self._answer(403))
    with pytest.raises(HubError, match=r"is converted, but could not be uploaded.*hf upload"):
        convert(GOLDEN / "llama_tiny", tmp_path / "out", vqgan=VQGAN, upload_repo="me/x")
    assert LiquidConfig.read(tmp_path / "out")
