"""From a checkpoint to a folder: what is in it, and what is said when it cannot be made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import yaml

from liquid_mlx.config import BackboneConfig, LiquidConfig, Size, VQGANConfig
from liquid_mlx.convert import Progress, convert, plan
from liquid_mlx.convert.read.layout import backbone_shapes, expected_shapes, torch_shape
from liquid_mlx.convert.read.safetensors import open_safetensors
from liquid_mlx.convert.read.tensor import to_bytes
from liquid_mlx.errors import CheckpointError, FileError, HubError, LiquidError, UsageError
from tests.convert.conftest import GOLDEN, VQGAN, copy_checkpoint, write_checkpoint


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes them away."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_folder_has_what_it_should(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "out")
    assert left_in(tmp_path / "out") == {
        *("config.json", "generation_config.json", "README.md", "vqgan.safetensors"),
        *("model.safetensors", "model.safetensors.index.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert left_in(tmp_path) == {"checkpoint", "out"}
    config = LiquidConfig.read(tmp_path / "out")
    assert config.image_offset == 512
    assert config.sizes == (Size(64, 64),)
    assert config.dtype == "float32"
    assert config.source == {"name": "checkpoint"}


def test_every_official_name_is_known() -> None:
    listed = json.loads((GOLDEN / "official_tensors.json").read_text())
    recipe = json.loads((GOLDEN / "full_size_recipe" / "recipe.json").read_text())
    language = backbone_shapes(BackboneConfig.from_dict(listed["llm_config_published"]))
    assert {name: list(shape) for name, shape in language.items()} == listed["llm"]
    vqgan = expected_shapes(VQGANConfig.from_params(recipe["vq_params"]))
    assert {n: list(torch_shape(n, shape)) for n, shape in vqgan.items()} == listed["vq"]


def test_image_ids_start_behind_the_tokenizer_not_behind_the_rows(tmp_path: Path) -> None:
    convert(GOLDEN / "qwen2_tiny", tmp_path / "out", vqgan=VQGAN, verify_result=False)
    config = LiquidConfig.read(tmp_path / "out")
    assert (config.image_offset, config.backbone.vocab_size) == (512, 1064)


def test_a_stored_tied_head_is_not_written(tmp_path: Path) -> None:
    folder = copy_checkpoint("gemma_tiny", tmp_path / "tied")
    weights: dict[str, mx.array] = {}
    for path in sorted(folder.glob("model-*.safetensors")):
        weights |= mx.load(str(path))
        path.unlink()
    (folder / "model.safetensors.index.json").unlink()
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    done = convert(folder, tmp_path / "out")
    assert "lm_head.weight" not in open_safetensors(tmp_path / "out" / "model.safetensors")
    assert any("lm_head" in note for note in done.plan.notes)


def test_the_shared_head_of_another_checkpoint_is_written(tmp_path: Path) -> None:
    convert(GOLDEN / "gemma_untied_mqa", tmp_path / "out", vqgan=VQGAN, verify_result=False)
    assert "lm_head.weight" in open_safetensors(tmp_path / "out" / "model.safetensors")


def test_rotary_buffers_of_old_checkpoints_are_ignored(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "old")
    path = str(folder / "model.safetensors")
    weights = dict(mx.load(path))
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = mx.zeros((8,))
    mx.save_safetensors(path, weights)
    convert(folder, tmp_path / "out", verify_result=False)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes(checkpoint: Path, tmp_path: Path, dtype: str) -> None:
    done = convert(checkpoint, tmp_path / "out", dtype=dtype, vqgan_dtype="float16")
    assert done.verification is not None
    assert 0 < done.verification.errors["image tokenizer"] < 1e-3
    assert 0 < done.verification.pixels < 2
    stored = open_safetensors(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    vqgan = open_safetensors(tmp_path / "out" / "vqgan.safetensors")
    assert {tensor.dtype for tensor in vqgan.values()} == {"float16"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == dtype


def test_sizes_and_recommendations(checkpoint: Path, tmp_path: Path) -> None:
    edit(
        checkpoint / "config.json",
        liquid={"sizes": ["32x64"], "recommended": {"guidance": 3.0, "unknown": 1}},
    )
    convert(checkpoint, tmp_path / "theirs", verify_result=False)
    config = LiquidConfig.read(tmp_path / "theirs")
    assert config.sizes == (Size(32, 64),)
    assert (config.recommended.guidance, config.recommended.top_k) == (3.0, 4096)
    convert(checkpoint, tmp_path / "ours", sizes=["64x64", "96x32"], verify_result=False)
    assert LiquidConfig.read(tmp_path / "ours").sizes == (Size(64, 64), Size(96, 32))


def test_what_a_model_was_trained_for_is_taken_along(checkpoint: Path, tmp_path: Path) -> None:
    hints = {"interleaved": True, "note": "Shapes only.", "words": ["red"]}
    plain = plan(checkpoint, vqgan=VQGAN).config_json["liquid"]
    assert not set(hints) & set(plain)
    assert plan(checkpoint, vqgan=VQGAN, interleaved=True).config_json["liquid"]["interleaved"]
    edit(checkpoint / "config.json", liquid=hints)
    convert(checkpoint, tmp_path / "first", vqgan=VQGAN, verify_result=False)
    again = plan(tmp_path / "first").config_json["liquid"]
    assert {name: again[name] for name in hints} == hints


def test_what_hugging_face_leaves_unsaid_is_spelled_out(checkpoint: Path, tmp_path: Path) -> None:
    edit(checkpoint / "config.json", num_key_value_heads=2, head_dim=None, auto_map={"x": "y.Z"})
    convert(checkpoint, tmp_path / "out", verify_result=False)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["head_dim"] == 16
    assert written["tie_word_embeddings"] is True
    assert "auto_map" not in written


def test_several_files_when_one_would_be_too_large(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liquid_mlx.convert.planning.plan.SHARD_BYTES", 300_000)
    convert(checkpoint, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files[0] == "model-00001-of-00003.safetensors"
    assert len(files) == 3
    for name, file in index["weight_map"].items():
        assert name in open_safetensors(tmp_path / "out" / file)


def test_blocks_of_rows_change_nothing(
    wide: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(wide("llama_tiny"), tmp_path / "whole", quantize=True)
    monkeypatch.setattr("liquid_mlx.convert.read.blocks.BLOCK", 1000)
    convert(wide("llama_tiny"), tmp_path / "pieces", quantize=True, verify_result=False)
    for name in ("model.safetensors", "vqgan.safetensors"):
        whole, pieces = (tmp_path / f / name for f in ("whole", "pieces"))
        assert whole.read_bytes() == pieces.read_bytes()


@pytest.mark.parametrize("verify", [False, True])
def test_progress_ends_at_the_end(checkpoint: Path, tmp_path: Path, verify: bool) -> None:
    seen: list[Progress] = []
    done = convert(
        checkpoint, tmp_path / "out", quantize=True, on_progress=seen.append, verify_result=verify
    )
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == seen[-1].total
    assert (seen[-1].total > done.plan.source_bytes) == verify
    assert seen[-1].seconds_left == 0
    assert done.plan.nbytes == sum(
        tensor.nbytes
        for path in (tmp_path / "out").glob("*.safetensors")
        for tensor in open_safetensors(path).values()
    )


def test_a_plan_needs_no_weights(checkpoint: Path) -> None:
    with_weights = plan(checkpoint, quantize=True)
    for path in [*checkpoint.glob("*.safetensors"), checkpoint / "chameleon" / "vqgan.ckpt"]:
        path.unlink()
    without = plan(checkpoint, quantize=True)
    assert without.nbytes == with_weights.nbytes
    assert without.bits_per_weight == with_weights.bits_per_weight


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / old).rename(folder / new)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def change(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / name, **changes)


def write(name: str, data: bytes) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return run


def cut(name: str, share: float) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return run


def tensors(name: str, **changes: mx.array | None) -> Callable[[Path], None]:
    """Change tensors of a safetensors file; None takes them away."""

    def run(folder: Path) -> None:
        path = str(folder / name)
        weights = {**mx.load(path), **changes}
        mx.save_safetensors(path, {k: v for k, v in weights.items() if v is not None})

    return run


def flip(name: str, at: float) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[int(len(data) * at)] ^= 0x40
        (folder / name).write_bytes(data)

    return run


LAST = "model-00002-of-00002.safetensors"
NORM = "model.norm.weight"
DAMAGE = {
    "no config": (remove("config.json"), "has no config.json"),
    "config is no JSON": (write("config.json", b"{"), "cannot be read as JSON"),
    "config is a list": (write("config.json", b"[]"), "JSON object"),
    "unknown model_type": (change("config.json", model_type="mamba"), "Unknown model_type mamba"),
    "no sizes": (change("config.json", hidden_size=None), "hidden_size"),
    "absurd sizes": (change("config.json", hidden_size=2**40), "hidden_size"),
    "too many layers": (change("config.json", num_hidden_layers=10**9), "layers"),
    "a layer more": (change("config.json", num_hidden_layers=4), "missing .model.layers.3"),
    "a layer less": (change("config.json", num_hidden_layers=2), "left over .model.layers.2"),
    "other widths": (change("config.json", intermediate_size=96), "has the shape"),
    "untied without a head": (change("config.json", tie_word_embeddings=False), "lm_head.weight"),
    "unknown rope": (change("config.json", rope_scaling={"rope_type": "yarn"}), "rope"),
    "no weights": (
        lambda f: [p.unlink() for p in f.glob("model*")],
        "has no weights",
    ),
    "missing shard": (remove(LAST), LAST),
    "index without map": (change("model.safetensors.index.json", weight_map=None), "weight_map"),
    "index naming a stranger": (
        change("model.safetensors.index.json", weight_map={NORM: "../../etc/passwd"}),
        "outside its folder",
    ),
    "index naming a lost tensor": (
        change("model.safetensors.index.json", weight_map={"x": LAST}),
        "names x, which no shard holds",
    ),
    "truncated weights": (cut(LAST, 0.5), "truncated"),
    "empty weights": (write(LAST, b""), "truncated"),
    "NaN": (tensors(LAST, **{NORM: mx.full((64,), float("nan"))}), "NaN or infinity"),
    "a stranger": (tensors(LAST, stranger=mx.zeros((1,))), "left over .stranger"),
    "integers": (tensors(LAST, **{NORM: mx.zeros((64,), mx.int32)}), "no|not weights"),
    "no tokenizer": (remove("tokenizer.json"), "has no tokenizer.json"),
    "bad tokenizer": (write("tokenizer.json", b"{}"), "is not a tokenizer"),
    "no vqgan": (remove("chameleon/vqgan.ckpt"), "--vqgan"),
    "bad yaml": (write("chameleon/vqgan.yaml", b"a: ["), "does not describe a VQGAN"),
    "yaml with code": (
        write("chameleon/vqgan.yaml", b"!!python/object/apply:os.mkdir [x]"),
        "does not describe a VQGAN",
    ),
    "yaml bomb": (
        write("chameleon/vqgan.yaml", b"a: &a [x]\nb: [*a, *a]\n"),
        "aliases",
    ),
    "huge yaml": (write("chameleon/vqgan.yaml", b"#" * 2_000_000), "too large"),
    "flipped bit": (flip("chameleon/vqgan.ckpt", 0.5), "damaged|not a valid"),
    "truncated ckpt": (cut("chameleon/vqgan.ckpt", 0.7), "not a valid torch.save file"),
    "empty ckpt": (write("chameleon/vqgan.ckpt", b""), "not a valid torch.save file"),
    "size that does not fit": (change("config.json", liquid={"sizes": ["60x64"]}), "60x64"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_named_and_nothing_is_left(
    checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(checkpoint)
    with pytest.raises(LiquidError, match=words):
        convert(checkpoint, tmp_path / "out")
    assert left_in(tmp_path) == {"checkpoint"}


def test_a_vocabulary_smaller_than_the_codes(checkpoint: Path, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "small", vocab_size=600)
    with pytest.raises(CheckpointError, match="too small for 512 text ids and 512 codes"):
        convert(folder, tmp_path / "out")


def test_a_tokenizer_of_another_model(checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = (checkpoint / "tokenizer.json").read_text()
    (checkpoint / "tokenizer.json").write_text(tokenizer.replace("<boi>", "<b>"))
    with pytest.raises(CheckpointError, match="<boi>"):
        convert(checkpoint, tmp_path / "out")


def test_a_tokenizer_without_turns_will_do(checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = (checkpoint / "tokenizer.json").read_text()
    (checkpoint / "tokenizer.json").write_text(tokenizer.replace("_of_turn>", "_of_x>"))
    convert(checkpoint, tmp_path / "out", verify_result=False)
    assert LiquidConfig.read(tmp_path / "out").special.keys() == {"boi", "eoi", "unconditional"}


def test_wrong_vqgan_sizes(checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "chameleon" / "vqgan.yaml"
    values = yaml.safe_load(path.read_text())
    for key, value in [("ch", 10**9), ("num_res_blocks", 10**9), ("ch_mult", [1] * 15)]:
        changed = json.loads(json.dumps(values))
        changed["model"]["params"]["ddconfig"][key] = value
        path.write_text(yaml.safe_dump(changed))
        with pytest.raises(CheckpointError):
            convert(checkpoint, tmp_path / "out")


def test_no_such_source(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no checkpoint"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(HubError, match="image tokenizer"):
        convert(GOLDEN / "llama_tiny", tmp_path / "out", vqgan=tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_exists_is_not_overwritten(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    {
        "folder": out.mkdir,
        "file": lambda: out.write_text("mine"),
        "link": lambda: out.symlink_to("nowhere"),
    }[kind]()
    with pytest.raises(FileError, match="exists already"):
        convert(checkpoint, out)
    assert left_in(tmp_path) == {"checkpoint", "out"}


def test_the_parent_must_be_there(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no folder"):
        convert(checkpoint, tmp_path / "a" / "b")


def test_room_is_checked_first(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FileError, match=r"needs 0\.0 GB.*left: free some"):
        convert(checkpoint, tmp_path / "out")
    assert left_in(tmp_path) == {"checkpoint"}


def test_options_that_do_not_go_together(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quantized folder"):
        convert(checkpoint, tmp_path / "out", dequantize=True)
    convert(checkpoint, tmp_path / "small", quantize=True)
    with pytest.raises(UsageError, match="quantized already"):
        convert(tmp_path / "small", tmp_path / "out", quantize=True, q_bits=2)
    with pytest.raises(UsageError, match="cannot be combined"):
        convert(tmp_path / "small", tmp_path / "out", quantize=True, dequantize=True)
    with pytest.raises(TypeError):
        convert(checkpoint, tmp_path / "out", qbits=4)  # type: ignore[call-arg]


def test_a_converted_folder_can_be_quantized(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "large")
    convert(tmp_path / "large", tmp_path / "two steps", quantize=True)
    convert(checkpoint, tmp_path / "one step", quantize=True)
    for name in ("model.safetensors", "vqgan.safetensors"):
        one, two = (tmp_path / f / name for f in ("one step", "two steps"))
        assert one.read_bytes() == two.read_bytes()


def test_dequantizing_gives_what_the_packed_weights_stand_for(
    wide: Callable[[str], Path], tmp_path: Path
) -> None:
    convert(wide("qwen2_tiny"), tmp_path / "small", quantize=True, q_bits=5)
    convert(tmp_path / "small", tmp_path / "back", dequantize=True)
    packed = mx.load(str(tmp_path / "small" / "model.safetensors"))
    plain = open_safetensors(tmp_path / "back" / "model.safetensors")
    name = "model.layers.1.mlp.up_proj"
    expected = mx.dequantize(
        *(packed[f"{name}.{p}"] for p in ("weight", "scales", "biases")), 64, 5
    )
    stored = plain[f"{name}.weight"]
    assert bytes(to_bytes(stored.rows(0, 256))) == bytes(to_bytes(expected))
    values = json.loads((tmp_path / "back" / "config.json").read_text())
    assert "quantization" not in values
    assert "quantization_config" not in values
    assert not any(n.endswith((".scales", ".biases")) for n in plain)


@pytest.mark.parametrize("options", [{}, {"quantize": True}])
def test_weights_beyond_the_range_of_float16_are_named(
    wide: Callable[[str], Path], tmp_path: Path, options: dict
) -> None:
    folder = shutil.copytree(wide("llama_tiny"), tmp_path / "checkpoint")
    path = folder / "model.safetensors"
    weights = mx.load(str(path))
    name = "model.layers.1.mlp.up_proj.weight"
    mx.save_safetensors(str(path), {**weights, name: weights[name] * 1e8})
    with pytest.raises(CheckpointError, match=f"{name} has values beyond the range of float16"):
        convert(folder, tmp_path / "out", dtype="float16", verify_result=False, **options)
    assert not (tmp_path / "out").exists()
    convert(folder, tmp_path / "out", dtype="bfloat16", verify_result=False, **options)


@pytest.mark.parametrize("sizes", [5, "512x512", [5], ["x"], [["64x64"]], {"a": 1}, ["0x0"]])
def test_damaged_sizes_of_a_checkpoint_are_refused(checkpoint: Path, sizes: object) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "liquid": {"sizes": sizes}}))
    with pytest.raises(CheckpointError, match=r"sizes|Images of"):
        plan(checkpoint)


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "tokenizer.json", "model.safetensors.index.json"),
        *("model-00001-of-00002.safetensors", "chameleon/vqgan.yaml", "chameleon/vqgan.ckpt"),
    ],
)
def test_pipes_and_devices_are_not_read(checkpoint: Path, tmp_path: Path, name: str) -> None:
    path = checkpoint / name
    for make in (os.mkfifo, lambda link: os.symlink("/dev/zero", link)):
        path.unlink()
        make(path)
        with pytest.raises(CheckpointError):
            convert(checkpoint, tmp_path / "out")
