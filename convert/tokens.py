"""What a checkpoint's tokenizer says: where image ids start, and the ids of special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from liquid_mlx.config import NEEDED_TOKENS, TURN_TOKENS
from liquid_mlx.errors import CheckpointError


def read_tokenizer(folder: Path) -> tuple[int, dict[str, int]]:
    """The number of text ids, added tokens included, and name -> id of the special tokens.

    Raises:
        CheckpointError: there is no tokenizer.json, or it is damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        hint = ""
        if (folder / "tokenizer.model").is_file():
            hint = (
                " (only a tokenizer.model: transformers' AutoTokenizer.from_pretrained(...)"
                ".save_pretrained(...) writes one)"
            )
        raise CheckpointError(f"{folder} has no tokenizer.json{hint}.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"{path} is not a tokenizer ({str(error)[:200]}).") from None
    ids = {name: tokenizer.token_to_id(f"<{name}>") for name in NEEDED_TOKENS + TURN_TOKENS}
    special = {name: token for name, token in ids.items() if token is not None}
    return tokenizer.get_vocab_size(with_added_tokens=True), special


def end_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end a text, from generation_config.json, else from config.json."""
    value = generation.get("eos_token_id", config.get("eos_token_id"))
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if type(v) is int and v >= 0)
