"""Prompt templates and special tokens: text and codes to token ids, and back.

Template pieces between special tokens are tokenized together with the user's text, as the
reference does. Special tokens come from the templates alone: ``<boi>`` or ``<end_of_turn>``
inside a user's text is ordinary text, so that no text from outside can break out of its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.display import brief, well_formed
from liquid_mlx.errors import CheckpointError, PromptError
from liquid_mlx.files import read_tokenizer
from liquid_mlx.images import HoldsImage, check_codes

# The ten instructions that the reference was trained with; it draws with the first.
INSTRUCTIONS = (
    " Generate an image based on this description.",
    " Create an image that captures the provided description.",
    " Based on the previous text, produce a corresponding image.",
    " Please illustrate the above text with a picture.",
    " Translate the given description into a image.",
    " Construct a visual representation of the above description.",
    " Create a image that matches the text.",
    " Formulate a visual expression that reflects the narrative just provided.",
    " Give a visual depiction based on the above sentences.",
    " Create an image using the information mentioned above as guidance.",
)
CAPTION = "The caption of this image is:"
MAX_TEXTS = 100_000  # in a list
MAX_CHARACTERS = 1_000_000  # of one text: far more than any context, tokenized in seconds
LONGEST_CHARACTER = 4  # bytes, and so byte tokens, of one character in UTF-8
Message = Mapping[str, Any]  # "role", and "content"
ROLES = {"user": "user", "assistant": "model", "model": "model"}


class Prompts:
    """Builds the ids of every kind of prompt for one model.

    Args:
        tokenizer: the checkpoint's ``tokenizer.json``.
        config: says where the special tokens and the codes are.
    """

    def __init__(self, tokenizer: Tokenizer, config: LiquidConfig):
        self._tokenizer = tokenizer
        self._special = config.special
        self.eos = list(config.eos_ids[:1])  # what ends a text, a picture and a turn of the model
        self._image_offset = config.image_offset
        self._n_codes = config.vqgan.n_embed
        self._default_size = config.sizes[0]
        self._start = tokenizer.encode("").ids  # <bos>, for the tokenizers that add it
        tokenizer.encode_special_tokens = True

    @classmethod
    def read(cls, folder: Path, config: LiquidConfig) -> Prompts:
        """Read ``folder/tokenizer.json``; raises CheckpointError if it is missing or damaged."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise CheckpointError(f"{folder} has no tokenizer.json: convert the model again.")
        return cls(read_tokenizer(path), config)

    def _text(self, text: str) -> list[int]:
        return self._tokenizer.encode(well_formed(text), add_special_tokens=False).ids

    def text_ids(self, text: str, *, start: bool = True) -> list[int]:
        """The ids of a text, or of none, behind ``<bos>`` for the tokenizers that add it."""
        return [*(self._start if start else []), *self._text(text)]

    def _size_words(self, size: Size) -> str:
        if size == self._default_size:
            return ""
        return f"Image Size: Width is {size.width} Height is {size.height}."

    def draw(self, text: str, size: Size, instruction: int = 1) -> list[int]:
        """The prompt that is followed by an image's tokens; ``instruction`` is 1 to 10."""
        instructed = INSTRUCTIONS[instruction - 1]
        words = required(text, "prompt") + self._size_words(size) + instructed
        return [*self._start, *self._text(words), self._special["boi"]]

    def unconditional(self, size: Size) -> list[int]:
        """The unconditional prompt for an image of this size, for guidance."""
        words = self._size_words(size)
        return [
            *self._start,
            *(self._text(words + " ") if words else []),
            self._special["unconditional"],
            self._special["boi"],
        ]

    def _picture(self, codes: np.ndarray) -> list[int]:
        check_codes(codes, self._n_codes)
        ids = (codes.reshape(-1).astype(np.int64) + self._image_offset).tolist()
        return [self._special["boi"], *ids, self._special["eoi"]]

    def question(self, codes: np.ndarray, question: str) -> tuple[list[int], list[int]]:
        """A question about an image, in two parts: all up to the image's end, and the rest."""
        words = self._text(f"\n{required(question, 'question')}")
        return (
            [*self._turn_start("user"), *self._picture(codes)],
            [*words, *self._turn("end_of_turn"), *self._text("\n"), *self._reply_start()],
        )

    def caption(self, codes: np.ndarray) -> tuple[list[int], list[int]]:
        """The prompt that is followed by an image's caption, in the same two parts."""
        return [*self._start, *self._picture(codes)], self._text(CAPTION)

    def _turn(self, marker: str) -> list[int]:
        """A turn's marker: one token, or plain text where the tokenizer does not have it."""
        token = self._special.get(marker)
        return self._text(f"<{marker}>") if token is None else [token]

    def _turn_start(self, role: str) -> list[int]:
        return [*self._start, *self._turn("start_of_turn"), *self._text(f"{role}\n")]

    def _reply_start(self) -> list[int]:
        return [*self._turn("start_of_turn"), *self._text("model\n")]

    def reply(self, text: str) -> list[int]:
        """The ids of an answer, behind ``question`` or ``chat``."""
        return self._text(required(text, "answer"))

    def chat(
        self,
        messages: Sequence[Message],
        pictures: Mapping[int, np.ndarray] | None = None,
    ) -> list[int]:
        """A conversation, ready for the model's next turn.

        Args:
            messages: ``{"role": "user" | "assistant", "content": ...}``, user first, in turns. The
                content is a text, or a list of texts and of pictures: drawn ones, or codes int
                [rows, columns].
            pictures: codes of the image that stands before message i's text, for some i.
        """
        turns = _turns(messages, {} if pictures is None else pictures)
        if not turns or turns[-1][0] != "user":
            raise PromptError("A conversation must end with a message of the user.")
        ids = list(self._start)
        for role, parts in turns:
            ids += [*self._turn("start_of_turn"), *self._content(parts, role, f"{role}\n")]
            ids += self._turn_end(role)
        return [*ids, *self._reply_start()]

    def lesson(
        self,
        messages: Sequence[Message],
        pictures: Mapping[int, np.ndarray] | None = None,
    ) -> tuple[list[int], list[bool]]:
        """A conversation to learn from, and which of its ids the model is to write.

        Those are its turns up to their ends; the arguments are those of ``chat``.
        """
        ids, learned = list(self._start), [False] * len(self._start)
        for role, parts in _turns(messages, {} if pictures is None else pictures):
            if role == "model":
                asked, said = self._reply_start(), self._content(parts, role, "")
                said += self._turn_end(role)
            else:
                said = []
                asked = [*self._turn("start_of_turn"), *self._content(parts, role, f"{role}\n")]
                asked += self._turn_end(role)
            ids += asked + said
            learned += [False] * len(asked) + [True] * len(said)
        return ids, learned

    def _turn_end(self, role: str) -> list[int]:
        eos = self.eos if role == "model" else []
        return [*self._turn("end_of_turn"), *self._text("\n"), *eos]

    def _content(self, parts: Sequence[str | np.ndarray], role: str, opening: str) -> list[int]:
        """A turn's opening, texts and pictures; a picture of the user has a line of its own."""
        ids: list[int] = []
        waiting = opening
        for part in parts:
            if isinstance(part, str):
                waiting += part
                continue
            ids += [*self._text(waiting), *self._picture(part)]
            waiting = "\n" if role == "user" else ""
        return ids + self._text(waiting)

    def opened(self) -> list[int]:
        """What the model writes to begin a picture in its answer."""
        return [self._special["boi"]]

    def drawn(self, codes: np.ndarray) -> list[int]:
        """What follows in the answer: the picture's codes, and its end."""
        return self._picture(codes)[1:]

    def text(self, text: str) -> list[int]:
        """A plain text from its start to its end."""
        return [*self._start, *self._text(required(text, "text")), *self.eos]

    def continued(self, text: str) -> list[int]:
        """A text that is to be continued, without a template."""
        return [*self._start, *self._text(required(text, "prompt"))]

    def token(self, token: int) -> str:
        """One id as text; where it has none of its own, the name that tells it from others."""
        return self.decode([token]) or self._tokenizer.id_to_token(token) or f"<{token}>"

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def decoder(self) -> Callable[[int], str]:
        """A function from the next id to the text it completes ("" inside a character)."""
        ids: list[int] = []
        before = ""  # the text of ids[:known], which is already out
        known = 0

        def step(token: int) -> str:
            nonlocal ids, before, known
            ids.append(token)
            text = self.decode(ids)
            if text.endswith("\ufffd") and len(ids) - known < LONGEST_CHARACTER:
                return ""  # bytes of a character that is not complete yet
            piece = text[len(before) :]
            ids = ids[known:]  # a piece's text may depend on its neighbour, not further back
            before, known = self.decode(ids), len(ids)
            return piece

        return step


def _turns(
    messages: Sequence[Message], pictures: Mapping[int, np.ndarray]
) -> list[tuple[str, list[str | np.ndarray]]]:
    """The turns of a conversation: "user" or "model", and what is said and shown."""
    several = isinstance(messages, Sequence) and not isinstance(messages, str | bytes)
    if not several or not all(isinstance(message, Mapping) for message in messages):
        raise PromptError("A conversation is a list of messages, each with a role and a content.")
    if not isinstance(pictures, Mapping):
        raise PromptError("pictures has codes by the number of their message, from 0.")
    found = []
    for index, message in enumerate(messages):
        role, expected = message.get("role", ""), ("user", "model")[index % 2]
        if not isinstance(role, str) or ROLES.get(role) != expected:
            raise PromptError(
                f"Message {index + 1} has the role {brief(role)!r}: user and assistant take turns, "
                "user first."
            )
        parts = content_parts(message.get("content"), expected)
        if index in pictures:
            parts.insert(0, pictures[index])
        found.append((expected, parts))
    return found


def content_parts(content: object, role: str = "model") -> list[str | np.ndarray]:
    """The texts and pictures of a message.

    Raises:
        PromptError: it is empty, of another kind, or a turn of the user without words.
    """
    if not isinstance(content, Sequence) or isinstance(content, str):
        return [required(content, "message")]
    parts: list[str | np.ndarray] = []
    for part in content:
        parts.append(part.codes if isinstance(part, HoldsImage) else part)
        if not isinstance(parts[-1], str | np.ndarray):
            raise PromptError("A message is a text, or a list of texts and of arrays of codes.")
    texts = [part for part in parts if isinstance(part, str)]
    if role == "user" or len(texts) == len(parts):
        required("".join(texts), "message")
    return parts


def texts_of(values: object, what: str) -> list[str]:
    """A list of texts; raises PromptError for a single text and anything else."""
    if isinstance(values, str):
        raise PromptError(f"The {what} are a single text: give a list of texts.")
    try:
        found: list[str] = list(islice(values, MAX_TEXTS + 1))  # type: ignore[call-overload]
    except TypeError:
        found = []
    if not isinstance(values, Iterable) or not all(isinstance(value, str) for value in found):
        raise PromptError(f"The {what} are not a list of texts, but {brief(values)}.")
    if len(found) > MAX_TEXTS:
        raise PromptError(f"The {what} are more than {MAX_TEXTS}.")
    return found


def required(text: object, what: str) -> str:
    """A text with something in it; raises PromptError for anything else."""
    if not isinstance(text, str) or not text.strip():
        raise PromptError(f"The {what} is empty: say something.")
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"The {what} is too long: at most {MAX_CHARACTERS} characters can be.")
    return text
