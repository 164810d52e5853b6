"""The tokenizer that training makes: ids, bytes, the chat template's file."""

import json

import pytest

from training import tokenizer as tk


@pytest.fixture(scope="module")
def tokenizer():
    return tk.train(texts=300)


def test_special_tokens_have_the_reference_ids(tokenizer):
    for number, token in enumerate(tk.SPECIAL_TOKENS):
        assert tokenizer.token_to_id(token) == number
    assert tokenizer.encode("<boi>", add_special_tokens=False).ids == [tk.BOI]


def test_ids_have_no_gaps(tokenizer):
    ids = sorted(tokenizer.get_vocab().values())
    assert ids == list(range(len(ids)))
    assert len(ids) <= tk.TEXT_VOCABULARY


@pytest.mark.parametrize("text", ["a red circle", "Ünïcode 日本\n<tag> 3 + 4", "  two spaces "])
def test_any_text_comes_back(tokenizer, text):
    encoded = tokenizer.encode(text)
    assert encoded.ids[0] == tk.BOS
    assert tokenizer.decode(encoded.ids) == text


def test_words_of_the_world_are_short(tokenizer):
    ids = tokenizer.encode("a small red circle left of a large blue star").ids
    assert len(ids) <= 12


def test_the_folder_has_the_chat_template(tokenizer, tmp_path):
    tk.save(tokenizer, tmp_path, context=512)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert "<start_of_turn>" in config["chat_template"]
    assert (tmp_path / "tokenizer.json").exists()
