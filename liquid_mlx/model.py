"""The one object that users hold: a loaded model that draws, answers and chats."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Literal

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx import images, memory
from liquid_mlx.adapters import AdapterName, Attached, attach, read_adapters
from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.display import brief
from liquid_mlx.distributed.exchange import agreed, least
from liquid_mlx.distributed.ranks import Team
from liquid_mlx.distributed.shards import shares_by_memory
from liquid_mlx.errors import ImageError, PromptError, SettingsError, UsageError
from liquid_mlx.files import digest
from liquid_mlx.generation.answer import Answering, check_length
from liquid_mlx.generation.drawing.editing import fit_to
from liquid_mlx.generation.drawing.steering import Steering
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.text import BATCH
from liquid_mlx.hub import DEMO, resolve
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import decoder_bytes, fitting, kv_bytes, limits, weight_bytes
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.prompts import Prompts
from liquid_mlx.weights import load_backbone, load_vqgan, shard_for

# Of what is no array: rows of different lengths, numbers beyond any dtype, endless ranges.
ARRAY_ERRORS = (MemoryError, OverflowError, TypeError, ValueError)
SAME_PIXEL = 2  # of 255: other machines decode the same codes almost alike


def load(
    model: str | Path = DEMO,
    *,
    dtype: str | None = None,
    revision: str | None = None,
    low_ram: bool = False,
    adapter: AdapterName | Sequence[AdapterName] = (),
    group: mx.distributed.Group | None = None,
    layers: Sequence[int] | Literal["auto"] | None = None,
) -> Liquid:
    """Load a converted model.

    Args:
        model: ``"demo"`` (bundled), a converted folder, or a Hugging Face repo id.
        dtype: "float32", "bfloat16" or "float16"; default the stored one (float32 on a CPU).
        revision: branch, tag or commit of a repo.
        low_ram: free the language model before pixels are decoded; it is read again when needed.
        adapter: a folder or repo id of an adapter (LoRA or DoRA, of mlx-lm or PEFT), or several;
            "NAME=0.5" for another strength than 1.
        group: the processes, from ``mx.distributed.init()``, that hold the model together, each a
            part of every layer (tensor parallel). All of them call every method alike.
        layers: each process holds some of the layers instead (pipeline parallel): how many, in the
            order of ranks, or "auto" for shares in proportion to the machines' memory.

    Raises:
        LiquidError: the model is missing, damaged, not a converted one, or too large for memory.
        DistributedError: the same, or that the model cannot be split so, on any rank of a group.

    Examples:
        >>> from liquid_mlx import load
        >>> liquid = load("demo")
        >>> liquid
        <Liquid 'demo': ...>
    """
    team = Team(group)
    with team.together():
        folder = resolve(model, revision)
        config = LiquidConfig.read(folder)
        adapters = read_adapters(adapter)
        if adapters and team.size > 1:
            raise UsageError("adapter and group cannot be combined: merge the adapter first.")
    with team.together(**{"config.json": digest(folder / "config.json")}):
        if layers == "auto":
            layers = shares_by_memory(
                config.backbone.num_hidden_layers, team.gather(memory.available())
            )
        shard = None if group is None or team.size == 1 else shard_for(config, group, layers)
        read = partial(load_backbone, folder, config, dtype, shard)
        return Liquid(
            config,
            read(adapters=adapters),
            load_vqgan(folder, config),
            Prompts.read(folder, config),
            name=str(model),
            reload=read if low_ram else None,
            adapters=adapters,
        )


class Liquid(Steering, Answering):
    """A model in memory; ``load`` makes one. ``config`` describes it.

    Examples:
        >>> from liquid_mlx import load
        >>> liquid = load("demo")
        >>> (picture,) = liquid.generate_image("a red circle", seed=7)
        >>> "red" in liquid.answer(picture, "What colour is it?").lower()
        True
    """

    def __init__(
        self,
        config: LiquidConfig,
        backbone: Backbone,
        vqgan: VQGAN,
        prompts: Prompts,
        name: str = "",
        reload: Callable[..., Backbone] | None = None,
        adapters: Attached = (),
    ):
        self.config = config
        self.name = name
        self.prompts = prompts
        self._dtype = backbone.dtype
        self._shard = backbone.shard
        self.vqgan = vqgan
        self._reload = reload
        self._low_ram = reload is not None
        self._note(adapters)
        self._held: Engine | None = Engine(backbone, config, prompts)
        self._seen: tuple[np.ndarray, np.ndarray] | None = None

    def __repr__(self) -> str:
        backbone, sizes = self.config.backbone, ", ".join(map(str, self.config.sizes))
        return (
            f"<Liquid {self.name!r}: {backbone.model_type}, {backbone.num_hidden_layers} layers, "
            f"{str(self._dtype).removeprefix('mlx.core.')}, images {sizes}, "
            f"context {backbone.max_position_embeddings}>"
        )

    @property
    def engine(self) -> Engine:
        """The language model, read again if ``low_ram`` has freed it."""
        if self._held is None and self._reload is not None:
            self._held = Engine(self._reload(adapters=self._adapters), self.config, self.prompts)
        assert self._held is not None
        return self._held

    def use_adapters(self, *names: AdapterName) -> None:
        """Lay these adapters over the model, in place of others; without a name: the base alone.

        The base is not read again. Adapters with whole tensors, which ``load`` has merged, stay.
        Not to be called while something is generated.

        Raises:
            LiquidError: see ``load``; the model stays as it was.
            UsageError: one holds whole tensors, which only ``load`` can take.
        """
        adapters = self._besides_merged(names)
        backbone = self.engine.backbone
        attach(backbone, adapters)
        self._note(adapters)
        self._held = Engine(backbone, self.config, self.prompts)

    def with_adapters(self, *names: AdapterName) -> Liquid:
        """Another model with these adapters, over the same weights in memory; this one stays.

        Raises:
            LiquidError: see ``use_adapters``.
        """
        adapters = self._besides_merged(names)
        backbone = self.engine.backbone.twin()
        attach(backbone, adapters)
        return Liquid(self.config, backbone, self.vqgan, self.prompts, self.name, adapters=adapters)

    def _besides_merged(self, names: Sequence[AdapterName]) -> Attached:
        """Adapters that lie over the weights, behind those that ``load`` has merged into them."""
        adapters = read_adapters(names)
        for one, _ in adapters:
            if one.tensors:
                raise UsageError(
                    f"The adapter {one.name} holds whole tensors: load the model anew with it."
                )
        return [*(pair for pair in self._adapters if pair[0].tensors), *adapters]

    def _note(self, adapters: Attached) -> None:
        """Remember what lies over the model: for images' settings, and to read it again."""
        self._adapters = adapters
        self.adapters = tuple(
            one.name if strength == 1 else f"{one.name}={strength:g}" for one, strength in adapters
        )

    def _free(self) -> None:
        """With ``low_ram``: let the language model go."""
        if self._reload is not None:
            self._held = None
        mx.clear_cache()

    def codes(self, picture: ImageSource | np.ndarray, size: Size | None = None) -> np.ndarray:
        """Codes int32 [rows, columns] for a picture of one of the model's sizes (None: its first).

        Codes are checked and returned. A PNG that this model drew has its own inside, which count
        if they are what its pixels show. Any other picture is fitted to the size and encoded.

        Raises:
            ImageError: it is not a picture, or codes of another shape or range.
            SettingsError: the size is none.
        """
        if not isinstance(size, Size | None):
            raise SettingsError(f"size is {brief(size)}: give one of liquid.config.sizes.")
        shape = self.config.grid(size := size or self.config.sizes[0])
        if isinstance(picture, np.ndarray):
            if picture.shape != shape:
                raise ImageError(f"Codes of {size} are {list(shape)}, not {list(picture.shape)}.")
            images.check_codes(picture, self.config.vqgan.n_embed)
            return picture.astype(np.int32)
        own = images.read_codes(picture, shape)
        image = images.load_image(picture)
        pixels = fit_to(image, size.width, size.height)
        if own is not None and own.max() < self.config.vqgan.n_embed:
            shown = np.asarray(self.decode(own)).astype(int)
            if np.abs(shown - pixels).max() <= SAME_PIXEL:
                return own
        codes = self.vqgan.encode(mx.array(images.to_float(pixels))[None])[0]
        return np.array(agreed(codes, self._shard), dtype=np.int32)

    def encode(self, picture: ImageSource, *, fit: str = "pad", exif: bool = True) -> np.ndarray:
        """VQ codes of a picture: int32 [rows, columns], 0 to n_codes - 1.

        Args:
            picture: a path, bytes of a file, a PIL image, an array uint8 [H, W, 3], or a drawn
                picture.
            fit: "pad" to a square (understanding) or "crop" its centre (training pictures).
            exif: turn phone photos upright; False is the reference's behaviour.

        Raises:
            ImageError: it is not a picture, or one too large.

        Examples:
            >>> from liquid_mlx import load
            >>> from PIL import Image
            >>> liquid = load("demo")
            >>> codes = liquid.encode(Image.new("RGB", (300, 200), "navy"))
            >>> codes.shape == liquid.config.grid(liquid.config.sizes[0])
            True
            >>> liquid.decode(codes)
            <PIL.Image.Image image mode=RGB size=...>
        """
        pixels = images.load_pixels(picture, self.config.vqgan.resolution, fit=fit, exif=exif)
        seen = self._seen  # which another thread may replace meanwhile
        if seen is None or not np.array_equal(seen[0], pixels):
            with limits():
                codes = self.vqgan.encode(mx.array(images.to_float(pixels))[None])[0]
                codes = agreed(codes, self._shard)
                self._seen = seen = pixels, np.array(codes, dtype=np.int32)
        return seen[1].copy()

    def decode(self, codes: np.ndarray) -> Image.Image:
        """The image of codes int [rows, columns], 0 to n_codes - 1; any grid that memory holds.

        Raises:
            ImageError: they are not such codes.
            LowMemoryError: their image is too large to be decoded here.
        """
        try:
            if isinstance(codes, Sized) and len(codes) > images.MAX_SIDE:
                raise ValueError
            codes = np.asarray(codes)
        except ARRAY_ERRORS:  # such as rows of different lengths
            raise ImageError("Codes are whole numbers [rows, columns].") from None
        if codes.ndim != 2:
            raise ImageError(f"Codes are whole numbers [rows, columns], not {codes.shape}.")
        images.check_codes(codes, self.config.vqgan.n_embed)
        rows, columns = codes.shape
        side = self.config.vqgan.factor
        need = decoder_bytes(self.config.vqgan, columns * side, rows * side)
        memory.require({"decoding": need}, "decode a smaller grid of codes")
        with limits():
            pixels = self.vqgan.decode(mx.array(codes.astype(np.int32))[None])[0]
            return images.to_image(np.array(pixels))

    def _batch_size(self, length: int) -> int:
        """How many sequences of ``length`` tokens are answered at once."""
        used = weight_bytes(self.engine.backbone, self._dtype)
        used += weight_bytes(self.vqgan, mx.float32)
        each = kv_bytes(self._shard.config, 1, length, self._dtype)
        return least(fitting(used, each, BATCH), self._shard)

    def logits(self, token_ids: Sequence[int]) -> mx.array:
        """Logits behind every one of token ids [T]: float32 [T, vocabulary].

        Raises:
            PromptError: they are no such ids, or more than the context holds.
        """
        last = self.config.backbone.vocab_size - 1
        try:
            if isinstance(token_ids, Sized):
                check_length(self.engine, len(token_ids))
            found = np.asarray(token_ids)
        except ARRAY_ERRORS:
            found = np.array([])
        if not np.issubdtype(found.dtype, np.integer) or not found.size:
            raise PromptError(f"Token ids are a list of whole numbers, 0 to {last}.")
        check_length(self.engine, found.size)
        if found.min() < 0 or found.max() > last:
            raise PromptError(f"Token ids lie in 0 to {last}.")
        ids = found.reshape(-1).tolist()
        backbone = self.engine.backbone
        cache = KVCache.empty(backbone.config, 1, len(ids), self._dtype)
        with limits():
            logits = backbone.head()(backbone(mx.array([ids]), cache)[0])
            mx.eval(logits)
        return logits
