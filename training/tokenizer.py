"""The text tokenizer: a small byte-pair encoding in Gemma's form, with Liquid's special tokens."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from training.language import questions, talk
from training.language.facts import CAPTION_CUE, caption, facts_of
from training.language.prompts import prompt
from training.scenes import random_scene

SPECIAL_TOKENS = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>",
    "<start_of_turn>", "<end_of_turn>", "<boi>", "<eoi>", "<unconditional>",
)  # fmt: skip
PAD, EOS, BOS, UNK, MASK, TURN, END_TURN, BOI, EOI, UNCONDITIONAL = range(10)
TEXT_VOCABULARY = 1152
SIZE_CUE = "Image Size: Width is {} Height is {}."
DESCRIPTION_CUE = " Generate an image based on this description."

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] + '<end_of_turn>\\n' }}"
    "{% if role == 'model' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


def corpus(texts: int, seed: int) -> Iterator[str]:
    """Everything the model will read or write, in the proportions that matter for merging."""
    rng = random.Random(seed)
    for number in range(texts):
        facts = facts_of(random_scene(rng, count=rng.choice((0, 1, 1, 2, 2, 3, 4))))
        asked, answer, _ = questions.question(facts, rng)
        said, reply = talk.small_talk(rng)
        yield from (prompt(rng).text, prompt(rng).text, f"user\n{prompt(rng).text}")
        yield CAPTION_CUE + " " + caption(facts)
        yield f"user\n\n{asked}"
        yield f"model\n{answer}"
        yield f"user\n{said}"
        yield reply
        yield SIZE_CUE.format(192, 128) + DESCRIPTION_CUE
        if number % 4 == 0:
            for turn in talk.conversation(rng, 4, 4):
                yield f"user\n{turn.said}"
                yield turn.reply


def train(*, texts: int = 4000, seed: int = 0) -> Tokenizer:
    """A tokenizer of at most TEXT_VOCABULARY ids; what it does not know becomes bytes."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    words = Regex(r"▁?[A-Za-z]+|[0-9]|▁|\n|[^A-Za-z0-9▁\n]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(words, behavior="isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(
        vocab_size=TEXT_VOCABULARY - 256,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁", "\n"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(texts, seed), trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for byte in byte_tokens:
        vocabulary[byte] = len(vocabulary)
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", BOS)]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, *, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(number): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for number, token in enumerate(SPECIAL_TOKENS)
        },
        "additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"],
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "GemmaTokenizer",
        "spaces_between_special_tokens": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
