"""One typed description of a converted model, read from its ``config.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from liquid_mlx.display import brief
from liquid_mlx.errors import CheckpointError, SettingsError
from liquid_mlx.files import read_config
from liquid_mlx.params import MAX_INTEGER, ImageParams, integer

FORMAT_VERSION, MAX_WORDS = 1, 10_000
MODEL_TYPES = ("gemma", "gemma2", "llama", "qwen2")
NEEDED_TOKENS = ("boi", "eoi", "unconditional")
TURN_TOKENS = ("start_of_turn", "end_of_turn")  # where a tokenizer lacks them, they are plain text


@dataclass(frozen=True)
class VQGANConfig:
    """The image tokenizer: ``ddconfig`` of ``vqgan.yaml`` plus the codebook's shape."""

    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...]
    resolution: int
    z_channels: int
    embed_dim: int
    n_embed: int
    in_channels: int = 3
    out_ch: int = 3

    @property
    def factor(self) -> int:
        """Pixels per code, along each side."""
        return int(2 ** (len(self.ch_mult) - 1))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> VQGANConfig:
        """Read ``model.params`` of ``vqgan.yaml`` (or a flat mapping of the same keys)."""
        values = {**params, **_mapping(params, "ddconfig")}
        if values.get("double_z"):
            raise CheckpointError("The VQGAN has double_z set; Liquid's image tokenizers do not.")
        try:
            known: dict[str, Any] = {
                name: _integers(values[name]) if name in _TUPLES else _positive(values, name)
                for name in cls.__dataclass_fields__
                if name in values or name not in ("in_channels", "out_ch")
            }
        except KeyError as error:
            raise CheckpointError(f"The VQGAN's configuration has no {error.args[0]}.") from None
        config = cls(**known)
        if not 0 < len(config.ch_mult) < 16:
            raise CheckpointError("The VQGAN's ch_mult must list 1 to 15 levels.")
        if config.ch * max(config.ch_mult) > _MOST["ch"]:
            raise CheckpointError(f"The VQGAN has more than {_MOST['ch']} channels.")
        if any(config.ch * multiplier % 32 for multiplier in (1, *config.ch_mult)):
            raise CheckpointError(
                f"The VQGAN's ch = {config.ch} does not divide into the 32 groups of its norms."
            )
        if (config.in_channels, config.out_ch) != (3, 3):
            raise CheckpointError(
                "The VQGAN does not read and write RGB: in_channels, out_ch are 3."
            )
        if config.resolution % config.factor:
            raise CheckpointError(
                f"The VQGAN's resolution {config.resolution} is not a multiple of its "
                f"downsampling factor {config.factor}."
            )
        return config


_TUPLES = ("ch_mult", "attn_resolutions")


# The most that each may be: several times any model's, and within what MLX can allocate.
_MOST = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 18,
    "intermediate_size": 1 << 20,
    "num_hidden_layers": 1000,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 14,
    "ch": 1 << 14,
    "resolution": 1 << 14,
    "z_channels": 1 << 14,
    "embed_dim": 1 << 14,
    "n_embed": 1 << 24,
    "num_res_blocks": 64,
}
_MOST_PIXELS = 1 << 14  # along a side of an image
_DTYPES = ("float32", "float16", "bfloat16")


def _positive(values: Mapping[str, Any], name: str) -> int:
    value, most = values[name], _MOST.get(name, 2**31 - 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{name} must be a positive whole number, not {brief(value)}.")
    if value > most:
        raise CheckpointError(f"{name} is {brief(value)}, at most {most} can be.")
    return value


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise CheckpointError(f"{name} must be a positive number, not {brief(value)}.")
    return float(value)  # MLX takes no integer beyond 64 bits


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name) or {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{name} must be an object, not {brief(value)}.")
    return value


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or not all(
        isinstance(v, int) and not isinstance(v, bool) and 0 < v <= 1 << 14 for v in values
    ):
        raise CheckpointError(
            f"Expected a list of positive whole numbers up to {1 << 14}, not {brief(values)}."
        )
    return tuple(values)


@dataclass(frozen=True)
class BackboneConfig:
    """The decoder-only transformer: the Hugging Face keys that change what it computes."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] | None = None
    max_position_embeddings: int = 8192
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    query_pre_attn_scalar: float | None = None
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None
    sliding_window: int | None = None

    @property
    def is_gemma(self) -> bool:
        return self.model_type.startswith("gemma")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BackboneConfig:
        """Read a Hugging Face ``config.json``.

        Raises:
            CheckpointError: the architecture is unknown, or a size is missing or absurd.
        """
        model_type = values.get("model_type")
        if model_type not in MODEL_TYPES:
            raise CheckpointError(
                f"Unknown model_type {brief(model_type)}: liquid-mlx runs {', '.join(MODEL_TYPES)}."
            )
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
        try:
            known: dict[str, Any] = {name: _positive(values, name) for name in sizes}
            heads = known["num_attention_heads"] = _positive(values, "num_attention_heads")
        except KeyError as error:
            raise CheckpointError(f"config.json has no {error.args[0]}.") from None
        known["num_key_value_heads"] = values.get("num_key_value_heads") or heads
        known["head_dim"] = values.get("head_dim") or known["hidden_size"] // heads
        for name in ("num_key_value_heads", "head_dim"):
            _positive(known, name)
        if heads % known["num_key_value_heads"] or known["head_dim"] % 2:
            raise CheckpointError(
                f"config.json: {heads} heads, {known['num_key_value_heads']} key-value heads of "
                f"width {known['head_dim']} do not fit together."
            )
        rope = _mapping(values, "rope_parameters")
        theta = {"rope_theta": values.get("rope_theta") or rope.get("rope_theta", 10000.0)}
        known["rope_theta"] = _number(theta, "rope_theta")
        known["rope_scaling"] = _rope_scaling(_mapping(values, "rope_scaling") or rope)
        tied = values.get("tie_word_embeddings")
        known["tie_word_embeddings"] = (
            model_type.startswith("gemma") if tied is None else bool(tied)
        )
        known["attention_bias"] = model_type == "qwen2" or bool(values.get("attention_bias"))
        if values.get("rms_norm_eps") is not None:
            known["rms_norm_eps"] = _number(values, "rms_norm_eps")
        if values.get("max_position_embeddings") is not None:
            known["max_position_embeddings"] = _positive(values, "max_position_embeddings")
        if model_type == "gemma2":
            for name, default in _GEMMA2.items():
                whole = isinstance(default, int)
                known[name] = values.get(name, default)
                if known[name] is not None:
                    known[name] = (_positive if whole else _number)(known, name)
        return cls(model_type=model_type, **known)


_GEMMA2: dict[str, float] = {
    "query_pre_attn_scalar": 256.0,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "sliding_window": 4096,
}
_LLAMA3 = ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def _rope_scaling(scaling: Mapping[str, Any]) -> Mapping[str, Any] | None:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    if kind not in ("llama3", "linear"):
        raise CheckpointError(
            f"Unknown rope scaling {brief(kind)}: llama3 and linear are supported."
        )
    try:
        for name in ("factor", *(_LLAMA3 if kind == "llama3" else ())):
            _number(scaling, name)
    except KeyError as error:
        raise CheckpointError(f"config.json: rope_scaling has no {error.args[0]}.") from None
    return {**scaling, "rope_type": kind}


@dataclass(frozen=True)
class Size:
    """An image's size in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """``"96x64"`` -> width 96, height 64; raises SettingsError for anything else."""
        width, _, height = text.strip().lower().partition("x")
        if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
            raise SettingsError(f"A size reads like 512x512 (width x height), not {text[:40]!r}.")
        if len(width) > 5 or len(height) > 5:
            raise SettingsError(f"A size of {text[:40]!r} is larger than any image.")
        return cls(int(width), int(height))


@dataclass(frozen=True)
class LiquidConfig:
    """All that is known of a model before a weight is read.

    ``image_offset`` is the id of code 0; ids from there to ``image_offset + vqgan.n_embed - 1``
    are codes, ids below are text. ``special`` maps ``NEEDED_TOKENS``, and ``TURN_TOKENS`` where
    the tokenizer has them, to ids.
    ``sizes[0]`` needs no words in the prompt, the others the "Image Size" words.
    ``interleaved`` models were trained to draw within an answer. ``note`` is what a user should
    know whose prompt has none of the ``words`` (lower case) that the model was trained on.
    """

    backbone: BackboneConfig
    vqgan: VQGANConfig
    image_offset: int
    special: Mapping[str, int]
    sizes: tuple[Size, ...]
    eos_ids: tuple[int, ...] = ()
    recommended: ImageParams = field(default_factory=ImageParams)
    source: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] | None = None
    dtype: str = "bfloat16"
    interleaved: bool = False
    note: str = ""
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = self.backbone.vocab_size
        if type(self.image_offset) is not int:
            raise CheckpointError(f"image_offset is {brief(self.image_offset)}: damaged.")
        if not all(type(token) is int and 0 <= token < rows for token in self.special.values()):
            raise CheckpointError(f"A special token is none of the vocabulary's {rows}.")
        if not all(type(token) is int and 0 <= token < 2**31 for token in self.eos_ids):
            raise CheckpointError("config.json: eos_ids must be a list of token ids.")
        if not 0 < self.image_offset <= rows - self.vqgan.n_embed:
            raise CheckpointError(
                f"The vocabulary of {rows} ids is too small for {brief(self.image_offset)} "
                f"text ids and {self.vqgan.n_embed} codes: the checkpoint and the VQGAN do not "
                "belong together."
            )
        missing = [name for name in NEEDED_TOKENS if name not in self.special]
        if missing:
            raise CheckpointError(f"The tokenizer has no <{missing[0]}>: is this a Liquid model?")
        if self.dtype not in _DTYPES:
            raise CheckpointError(f"config.json: the dtype {brief(self.dtype)} is unknown.")
        if not self.sizes:
            raise CheckpointError("config.json lists no sizes of images.")
        for size in self.sizes:
            if not (0 < size.width <= _MOST_PIXELS and 0 < size.height <= _MOST_PIXELS):
                raise CheckpointError(f"Images of {size} pixels are none of 1 to {_MOST_PIXELS}.")
            if size.width % self.vqgan.factor or size.height % self.vqgan.factor:
                raise CheckpointError(
                    f"Images of {size} do not fit a grid of {self.vqgan.factor}-pixel codes."
                )

    def grid(self, size: Size) -> tuple[int, int]:
        """Rows and columns of codes of an image of this size."""
        return size.height // self.vqgan.factor, size.width // self.vqgan.factor

    def size(self, width: int | None = None, height: int | None = None) -> Size:
        """The model's size with this width and height (None: any); SettingsError if none."""
        for name, side in (("width", width), ("height", height)):
            if side is not None:
                integer(name, side, -MAX_INTEGER, MAX_INTEGER, "use one of the model's sizes")
        for size in self.sizes:
            if width in (None, size.width) and height in (None, size.height):
                return size
        asked = f"{width or 'any'}x{height or 'any'}"
        known = ", ".join(str(size) for size in self.sizes)
        raise SettingsError(f"This model does not generate {asked} images; it generates {known}.")

    def note_for(self, *prompts: str) -> str:
        """The model's note if one of the prompts has no word that the model knows, else ""."""
        if not self.words:
            return ""
        known = re.compile(rf"\b({'|'.join(map(re.escape, self.words))})\b")
        return "" if all(known.search(prompt.lower()) for prompt in prompts) else self.note

    def liquid_section(self) -> dict[str, Any]:
        """The ``liquid`` object of ``config.json``."""
        return {
            "format": FORMAT_VERSION,
            "image_offset": self.image_offset,
            "special": dict(self.special),
            "eos_ids": list(self.eos_ids),
            "sizes": [str(size) for size in self.sizes],
            "recommended": asdict(self.recommended),
            "vqgan": asdict(self.vqgan),
            "source": dict(self.source),
            **training_section(self.interleaved, self.note, self.words),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LiquidConfig:
        """Read the whole ``config.json`` of a converted folder.

        Raises:
            CheckpointError: it is not a converted Liquid model, or one of a newer format.
        """
        section = values.get("liquid")
        if not isinstance(section, Mapping) or "image_offset" not in section:
            raise CheckpointError(
                "This is not a converted Liquid model (config.json has no `liquid` part): "
                "run `liquid convert` on the checkpoint first."
            )
        if section.get("format") != FORMAT_VERSION:
            raise CheckpointError(
                f"This folder has format {brief(section.get('format'))}; this version of "
                f"liquid-mlx reads format {FORMAT_VERSION}. Upgrade liquid-mlx or convert the "
                "model again."
            )
        try:
            return cls(
                backbone=BackboneConfig.from_dict(values),
                vqgan=VQGANConfig.from_params(_mapping(section, "vqgan")),
                image_offset=section["image_offset"],
                special=dict(section["special"]),
                sizes=sizes_from(section["sizes"]),
                eos_ids=tuple(section["eos_ids"]),
                recommended=recommended_from(_mapping(section, "recommended")),
                source=_mapping(section, "source"),
                quantization=_quantization(_mapping(values, "quantization")),
                dtype=values.get("torch_dtype") or values.get("dtype") or "bfloat16",
                **training_hints(section),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The `liquid` part of config.json is damaged ({str(error)[:100]}): convert the "
                "model again."
            ) from None

    @classmethod
    def read(cls, folder: Path) -> LiquidConfig:
        """Read ``folder/config.json``; raises CheckpointError if there is none or it is damaged."""
        return cls.from_dict(read_config(folder))


def sizes_from(values: Any) -> tuple[Size, ...]:
    """Sizes from a list such as ``["512x512"]``; raises CheckpointError for anything else."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise CheckpointError(f"The sizes of config.json are damaged ({brief(values)}).")
    try:
        return tuple(Size.parse(value) for value in values)
    except SettingsError as error:
        raise CheckpointError(f"The sizes of config.json are damaged: {error}") from None


def recommended_from(values: Mapping[str, Any]) -> ImageParams:
    """Settings from a mapping; unknown keys are ignored, missing ones take the reference's."""
    known = {name: values[name] for name in ImageParams.__dataclass_fields__ if name in values}
    try:
        return ImageParams(**known)
    except SettingsError as error:
        raise CheckpointError(f"The recommended settings of config.json: {error}") from None


def _quantization(section: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """``quantization`` of config.json, checked, with its overrides by module; None if empty."""
    for values in (section, *(own for own in section.values() if isinstance(own, Mapping))):
        bits, size = (values.get(name, section.get(name)) for name in ("bits", "group_size"))
        sound = type(bits) is int and 1 <= bits <= 8 and type(size) is int and 8 <= size <= 1024
        if section and not (sound and isinstance(values.get("mode", ""), str)):
            raise CheckpointError(f"config.json: MLX has no quantization {brief(dict(values))}.")
    return section or None


def training_hints(section: Mapping[str, Any]) -> dict[str, Any]:
    """``interleaved``, ``note`` and ``words`` of a ``liquid`` object, where it has them.

    Raises:
        CheckpointError: one of them is of another type.
    """
    interleaved = section.get("interleaved", False)
    note, words = section.get("note", ""), section.get("words", [])
    if not isinstance(interleaved, bool):
        found = brief(interleaved)
        raise CheckpointError(f"config.json: interleaved is {found}: it is true or false.")
    if not isinstance(note, str):
        raise CheckpointError("config.json: note is a text.")
    few = isinstance(words, list) and len(words) <= MAX_WORDS
    if not few or not all(isinstance(w, str) and w.strip() for w in words):
        raise CheckpointError(f"config.json: words is a list of at most {MAX_WORDS} words.")
    return {
        "interleaved": interleaved,
        "note": " ".join(note.split()),
        "words": tuple(word.strip().lower() for word in words),
    }


def training_section(interleaved: bool, note: str, words: Sequence[str]) -> dict[str, Any]:
    """The same as JSON; what says nothing is left out."""
    found = {"interleaved": interleaved, "note": note, "words": list(words)}
    return {name: value for name, value in found.items() if value}
