"""Prompts against the token ids of the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.errors import CheckpointError, PromptError
from liquid_mlx.files import read_json
from liquid_mlx.prompts import Prompts
from tests.conftest import CASES, GOLDEN

SIZE_WORDS = "Image Size: Width is 80 Height is 48."
DRAW_WORDS = " Generate an image based on this description.<boi>"


class Case:
    def __init__(self, folder, name):
        self.config = LiquidConfig.read(folder)
        self.prompts = Prompts.read(folder, self.config)
        self.arrays = np.load(GOLDEN / name / "golden_llm.npz")
        self.facts = read_json(GOLDEN / name / "golden_llm.json")

    def codes(self, ids):
        offset, n_codes = self.config.image_offset, self.config.vqgan.n_embed
        return ids[(ids >= offset) & (ids < offset + n_codes)] - offset


@pytest.fixture(scope="module", params=CASES)
def case(request, converted):
    folder = converted(request.param, sizes=("64x64", "80x48"))
    return Case(folder, request.param)


@pytest.mark.parametrize("drawing", ["t2i/cfg1", "t2i/cfg3", "t2i/cfg7", "multiratio"])
def test_drawing_prompts_have_the_references_ids(case, drawing):
    size = Size(80, 48) if drawing == "multiratio" else case.config.sizes[0]
    ids, mask = (case.arrays[f"{drawing}/{k}"] for k in ("input_ids", "attention_mask"))
    expected = [row[seen == 1].tolist() for row, seen in zip(ids, mask, strict=True)]
    facts = case.facts["prompts"][drawing]
    texts = [t.removesuffix(DRAW_WORDS).removesuffix(SIZE_WORDS) for t in facts["texts"]]
    got = [case.prompts.draw(text, size) for text in texts]
    got += [case.prompts.unconditional(size) for _ in facts["unconditional"]]
    assert got == expected


def test_question_prompts_have_the_references_ids(case):
    for k, facts in enumerate(case.facts["i2t"]):
        expected = case.arrays[f"i2t/{k}/input_ids"]
        picture, rest = case.prompts.question(case.codes(expected), facts["question"])
        assert picture + rest == expected.tolist()


def test_chat_prompts_have_the_references_ids(case):
    for k, facts in enumerate(case.facts["t2t"]):
        ids = case.prompts.chat([{"role": "user", "content": facts["question"]}])
        assert ids == case.arrays[f"t2t/{k}/input_ids"].tolist()


def test_a_model_turn_ends_with_eos_before_the_next_user_turn(case):
    turns = ("hello", "yes?", "what is it")
    messages = [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant", "user"), turns, strict=True)
    ]
    special, eos = case.config.special, case.config.eos_ids[0]
    ids = case.prompts.chat(messages)
    single = [case.prompts.chat([messages[i]]) for i in (0, 2)]
    assert ids[: len(single[0])] == single[0]
    bos = len(single[0]) - len(case.prompts.chat([{"role": "user", "content": "hello"}]))
    assert bos == 0
    turn = special["start_of_turn"]
    assert ids.count(turn) == 4
    assert ids.count(special["end_of_turn"]) == 3
    assert ids[len(ids) - ids[::-1].index(eos) :][0] == turn


def test_a_picture_in_a_chat_reads_like_a_question(case):
    codes = np.arange(16).reshape(4, 4) % case.config.vqgan.n_embed
    picture, rest = case.prompts.question(codes, "what is it")
    messages = [{"role": "user", "content": "what is it"}]
    assert case.prompts.chat(messages, {0: codes}) == picture + rest


def test_a_caption_prompt_starts_with_the_picture(case):
    codes = np.arange(16) % case.config.vqgan.n_embed
    picture, rest = case.prompts.caption(codes)
    special = case.config.special
    assert picture[-18] == special["boi"]
    assert picture[-1] == special["eoi"]
    assert case.prompts.decode(rest) == "The caption of this image is:"


def test_special_tokens_in_a_users_text_are_ordinary_text(case):
    special = case.config.special
    text = "<end_of_turn><eoi><boi><unconditional><start_of_turn>"
    ids = case.prompts.chat([{"role": "user", "content": text}])
    plain = case.prompts.chat([{"role": "user", "content": "hello"}])
    for name in ("boi", "eoi", "unconditional", "end_of_turn", "start_of_turn"):
        assert ids.count(special[name]) == plain.count(special[name])
    assert case.prompts.draw(text, case.config.sizes[0]).count(special["boi"]) == 1


@given(text=st.text(min_size=1).filter(str.strip))
def test_any_text_becomes_text_ids_and_back(case_gemma, text):
    ids = case_gemma.prompts.draw(text, case_gemma.config.sizes[0])
    assert max(ids) < case_gemma.config.image_offset
    assert case_gemma.prompts.decode(ids).startswith(text)


@pytest.fixture(scope="module")
def case_gemma(converted):
    return Case(converted("gemma_tiny"), "gemma_tiny")


@given(text=st.text(min_size=1).filter(str.strip))
def test_any_text_streams_to_itself(case_gemma, text):
    ids = case_gemma.prompts.draw(text, case_gemma.config.sizes[0])
    step = case_gemma.prompts.decoder()
    assert "".join(map(step, ids)) == case_gemma.prompts.decode(ids)


@given(ids=st.lists(st.integers(0, 511), max_size=40))
def test_ids_that_are_no_text_stream_without_error(case, ids):
    step = case.prompts.decoder()
    pieces = [step(token) for token in ids]
    assert len("".join(pieces)) <= len(case.prompts.decode(ids)) + 4


def test_streamed_pieces_join_to_the_decoded_text(case):
    ids = case.prompts.draw("zwölf Boxkämpfer 🥊 in Tōkyō", case.config.sizes[0])
    step = case.prompts.decoder()
    assert "".join(map(step, ids)).lstrip() == case.prompts.decode(ids).lstrip()


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_an_empty_prompt_is_refused(case_gemma, text):
    with pytest.raises(PromptError, match="empty"):
        case_gemma.prompts.draw(text, case_gemma.config.sizes[0])


@pytest.mark.parametrize(
    "roles", [[], ["assistant"], ["user", "user"], ["user", "assistant"], ["system", "user"]]
)
def test_turns_out_of_order_are_refused(case_gemma, roles):
    with pytest.raises(PromptError):
        case_gemma.prompts.chat([{"role": role, "content": "hi"} for role in roles])


@pytest.mark.parametrize("content", [None, b"\x00\xff", b"[]", b'{"model": 3}'])
def test_a_damaged_tokenizer_is_refused(tmp_path, case_gemma, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer"):
        Prompts.read(tmp_path, case_gemma.config)
