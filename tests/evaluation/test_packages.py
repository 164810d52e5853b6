"""FID through clean-fid, CLIP score through open_clip; skipped where they are not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation import packages

SEED = 4  # of networks whose cosines are not all below 0
pytestmark = pytest.mark.filterwarnings("ignore")  # of the package and what it imports


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with features that need no weights: means of a picture's quarters."""
    found = pytest.importorskip("cleanfid.fid")

    torch = pytest.importorskip("torch")

    def features(batch: Any) -> Any:  # [N, 3, 299, 299]
        quarters = [batch[..., i : i + 150, j : j + 150] for i in (0, 149) for j in (0, 149)]
        return torch.cat([quarter.mean(dim=(2, 3)) for quarter in quarters], dim=1)

    monkeypatch.setattr(found, "build_feature_extractor", lambda *_, **__: features)
    return found


def pictures(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    (folder / "sub").mkdir(parents=True)
    for i in range(20):
        low = rng.integers(0, 200, (4, 4, 3), dtype=np.uint8) + np.uint8(20 * seed)
        image = Image.fromarray(low).resize((40, 30), Image.Resampling.BILINEAR)
        image.save(folder / ("sub" if i % 2 else ".") / f"{i}.png")
    return folder


def test_fid_is_that_of_the_package_from_pictures_and_from_statistics(
    library: Any, tmp_path: Path
) -> None:
    drawn, real = pictures(tmp_path / "drawn", 0), pictures(tmp_path / "real", 1)
    expected = library.compute_fid(str(drawn), str(real), num_workers=0, device="cpu")
    assert expected > 1
    assert packages.fid(drawn, real) == pytest.approx(expected, rel=1e-6)
    features = library.get_folder_features(
        str(real), library.build_feature_extractor(), num_workers=0, device="cpu"
    )
    sigma = np.cov(features, rowvar=False)
    np.savez(tmp_path / "real.npz", mu=features.mean(axis=0), sigma=sigma)
    assert packages.fid(drawn, tmp_path / "real.npz") == pytest.approx(expected, rel=1e-6)


def test_what_is_no_statistics_file_ends_in_a_sentence(library: Any, tmp_path: Path) -> None:
    drawn = pictures(tmp_path / "drawn", 0)
    (tmp_path / "odd.npz").write_text("odd")
    for path in (tmp_path / "odd.npz", tmp_path / "missing"):
        with pytest.raises(FileError):
            packages.fid(drawn, path)


def test_a_clip_score_is_the_cosine_of_the_packages_own_features(tmp_path: Path) -> None:
    library = pytest.importorskip("open_clip")
    torch = pytest.importorskip("torch")
    size = {"width": 32, "layers": 1}
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "head_width": 16, **size},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "heads": 2, **size},
    }
    (tmp_path / "Tiny-16.json").write_text(json.dumps(config))
    library.add_model_config(tmp_path)
    files = sorted(pictures(tmp_path / "drawn", 0).glob("*.png"))[:3]
    prompts = ["a red circle", "a blue star", "nothing at all"]

    torch.manual_seed(SEED)
    found = packages.clip_scores(files, prompts, model="Tiny-16", weights="")

    torch.manual_seed(SEED)
    network, _, prepare = library.create_model_and_transforms("Tiny-16", pretrained="")
    images = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        seen = network.eval().encode_image(images, normalize=True)
        read = network.encode_text(library.get_tokenizer("Tiny-16")(prompts), normalize=True)
    expected = [max(0.0, 100 * float(a @ b)) for a, b in zip(seen, read, strict=True)]
    assert found == pytest.approx(expected, abs=1e-3)
    assert len({round(score, 4) for score in found}) > 1
