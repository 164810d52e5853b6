"""What a wrong command line was probably meant to be: one "did you mean" for each kind of slip."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from liquid_mlx.errors import UsageError

# Names that other tools have for these commands.
_COMMANDS = {
    **dict.fromkeys(("draw", "create", "imagine", "image", "paint", "txt2img", "run"), "generate"),
    **dict.fromkeys(("question", "vqa", "query", "answer"), "ask"),
    **dict.fromkeys(("describe", "captions", "tag"), "caption"),
    **dict.fromkeys(("talk", "repl", "prompt"), "chat"),
    **dict.fromkeys(("quantize", "download", "pull"), "convert"),
    **dict.fromkeys(("benchmark", "speed", "plan"), "bench"),
    **dict.fromkeys(("list", "ls", "rm", "delete", "manage"), "models"),
    **dict.fromkeys(("show", "metadata", "inspect"), "info"),
    **dict.fromkeys(("settings", "configure"), "config"),
    **dict.fromkeys(("server", "api", "ui", "web"), "serve"),
    **dict.fromkeys(("train", "tune", "fine-tune", "lora"), "finetune"),
    **dict.fromkeys(("eval", "evaluation"), "evaluate"),
    **dict.fromkeys(("merge",), "fuse"),
    **dict.fromkeys(("inpaint", "redraw"), "edit"),
}
# Options of mflux, mlx-lm, mlx-vlm and diffusers, and slips of the hand.
_OPTIONS = {
    **dict.fromkeys(("-n", "--n", "--num", "--num-images", "--images", "--number"), "--count"),
    **dict.fromkeys(("-s", "--seeds"), "--seed"),
    **dict.fromkeys(("-g", "--cfg", "--cfg-scale", "--guidance-scale", "--scale-guidance"),
                    "--guidance"),
    **dict.fromkeys(("-t", "-T"), "--temperature"),
    **dict.fromkeys(("--max-new-tokens", "--max_tokens", "--max-length"), "--max-tokens"),
    **dict.fromkeys(("--out", "--output-dir", "--output-path", "--save"), "--output"),
    **dict.fromkeys(("-f", "--force", "--replace"), "--overwrite"),
    **dict.fromkeys(("-b", "--batch"), "--batch-size"),
    **dict.fromkeys(("--resolution", "--image-size"), "--size"),
    **dict.fromkeys(("-W", "-w"), "--width"),
    **dict.fromkeys(("-H",), "--height"),
    **dict.fromkeys(("--prompts", "--file", "--from-file"), "--prompt-file"),
    **dict.fromkeys(("--question", "--text"), "--prompt"),
    **dict.fromkeys(("--options", "--answers-from"), "--choices"),
    **dict.fromkeys(("--watch", "--show", "--live"), "--preview"),
    **dict.fromkeys(("--view", "--display"), "--open"),
    **dict.fromkeys(("--bits",), "--q-bits"),
    **dict.fromkeys(("--silent", "--no-progress"), "--quiet"),
    **dict.fromkeys(("-h5", "--usage"), "--help"),
    "--low-memory": "--low-ram",
    "--repo": "--model",
    "--checkpoint": "--hf-path",
    "-V": "--version",
}  # fmt: skip
_NO_STEPS = ("--steps", "--num-inference-steps", "--scheduler", "--negative-prompt")
# Words that stand within a prompt, and hardly make one alone.
_SMALL = "a an the of on in at with and or above below under over behind beside near next to from"
_LONG = 60


def joined(message: str, hint: str) -> str:
    """Both as sentences."""
    return f"{message.rstrip('.')}. {hint}" if message and hint else message or hint


def quoted(words: Iterable[str]) -> str:
    """The words as one argument, shortened."""
    text = " ".join(words)
    return '"' + (text if len(text) <= _LONG else text[:_LONG].rstrip() + "...") + '"'


def for_command(words: Sequence[str], commands: Container[str]) -> str:
    """For a first word that is no command: what to type instead, or ""."""
    name, rest = words[0], [word for word in words[1:] if not word.startswith("-")]
    if name == "help":
        known = rest and rest[0] in commands
        return f"Did you mean `liquid {rest[0]} --help`?" if known else _meant("--help")
    if name == "version":
        return _meant("--version")
    if Path(name).is_file():
        return _meant(f'ask {name} "What is this?"')
    if (command := _COMMANDS.get(name.lower(), name.lower())) in commands:
        return _meant(command)
    if " " in name or (rest and name.lower() in _SMALL.split()):
        return _meant(f"generate {quoted([name, *rest])}")
    close = difflib.get_close_matches(name, list(_names(commands)), 1)
    return _meant(close[0]) if close else "`liquid --help` lists the commands."


def _names(commands: Container[str]) -> Iterable[str]:
    return commands if isinstance(commands, Iterable) else ()


def _meant(command: str) -> str:
    return f"Did you mean `liquid {command}`?"


def for_option(option: str, known: Sequence[str], words: Sequence[str]) -> str:
    """For an option that a command does not have: the one it has instead, or "".

    Args:
        known: the options of the command.
        words: the command line, from which the value of the wrong option is taken.
    """
    if option in _NO_STEPS:
        return (
            "Liquid draws token by token, without diffusion steps or negative prompts: see "
            "--guidance and --temperature."
        )
    meant = _OPTIONS.get(option, "")
    if meant not in known:
        close = difflib.get_close_matches(option, [name for name in known if name[:2] == "--"], 1)
        meant = close[0] if close else ""
    if not meant:
        return ""
    place = list(words).index(option) if option in words else len(words)
    value = "".join(f" {word}" for word in words[place + 1 : place + 2] if word[:1] != "-")
    return f"Did you mean `{meant}{value if len(value) < 20 else ''}`?"


def checked(prompts: list[str] | None, seed: str | None) -> list[str]:
    """The arguments as prompts; UsageError if they are prompts by a slip of the hand."""
    words = prompts or []
    if slip := (several_seeds(words) if seed else "") or unquoted(words):
        raise UsageError(slip)
    return words


def unquoted(words: Sequence[str]) -> str:
    """For prompts that look like one whose quotes were forgotten: what to type, or ""."""
    single = len(words) > 1 and not any(" " in word.strip() for word in words)
    if single and (len(words) > 2 or any(word.lower() in _SMALL.split() for word in words)):
        return (
            f"These are {len(words)} prompts of one word: put quotes around a prompt, "
            f"{quoted(words)}, or -p before each if you mean them so."
        )
    return ""


def several_seeds(words: Sequence[str]) -> str:
    """For ``--seed 1 2 3``, which makes prompts of 2 and 3: what to type, or ""."""
    numbers = [word for word in words if word.isascii() and word.isdigit()]
    if not numbers or len(numbers) == len(words):
        return ""
    return f"{quoted(numbers)} would be a prompt: several seeds are one word, --seed 1,2,3."


def question_first(words: Sequence[str]) -> str:
    """For ``QUESTION IMAGE`` instead of ``IMAGE QUESTION``: what to type, or ""."""
    *before, last = words
    if Path(last).is_file() and before and not any(_is_there(word) for word in before):
        return f"The question goes last: liquid ask {last} {quoted(before)}."
    start = next((i for i, word in enumerate(words) if not _is_there(word)), len(words))
    rest = words[start:]
    if start and len(rest) > 1 and not any(" " in word or _is_there(word) for word in rest):
        return f"Put quotes around the question: liquid ask {words[0]} {quoted(rest)}."
    return ""


def _is_there(word: str) -> bool:
    """Whether a word names pictures, not a part of a question."""
    if word == "-" or "://" in word or any(sign in word for sign in "/*["):
        return True
    return Path(word).exists() or Path(word).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")
