"""The official client against a running server: it gets what the library gives."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import openai
import pytest
from PIL import Image

from liquid_mlx.images import png_bytes
from liquid_mlx.results import ImageStep, TextStep
from liquid_mlx.server.app import Options
from tests.server.conftest import data_url, picture, serving

QUESTION = "What is this?"


def content(photo_url, text=QUESTION):
    return [
        {"type": "image_url", "image_url": {"url": photo_url}},
        {"type": "text", "text": text},
    ]


def asked(photo_url):
    return [{"role": "user", "content": content(photo_url)}]


def test_the_models_are_listed(client, served):
    (found,) = client.models.list().data
    assert found.id == served.model
    assert client.models.retrieve(served.model).sizes == found.sizes


def test_pictures_are_those_of_the_library(client, served, liquid):
    made = client.images.generate(prompt="a boat", model=served.model, n=4, extra_body={"seed": 7})
    assert len(made.data) == 4
    expected = liquid.generate_image("a boat", count=4, seed=7)
    for i, (got, image) in enumerate(zip(made.data, expected, strict=True)):
        found = picture(got.b64_json)
        assert found.tobytes() == image.image.tobytes()
        assert got.seed == (7 + i)
        settings = image.settings.to_dict() | {"model": served.model}
        assert got.settings == settings
        np.testing.assert_array_equal(liquid.codes(found), image.codes)  # they are inside
    assert made.usage.output_tokens == sum(image.codes.size for image in expected)


def test_a_streamed_picture_grows_and_ends_as_the_whole_one(client, liquid):
    rows, columns = liquid.config.grid(liquid.config.sizes[0])
    stream = client.images.generate(
        prompt="a boat", stream=True, partial_images=3, extra_body={"seed": 7}
    )
    *partial, last = list(stream)
    assert [event.type for event in partial] == ["image_generation.partial_image"] * len(partial)
    assert [event.partial_image_index for event in partial] == list(range(min(3, rows - 1)))
    seen = [event.rows for event in partial]
    assert seen == sorted(set(seen))
    (whole,) = liquid.generate_image("a boat", seed=7)
    for event in partial:
        found = picture(event.b64_json)
        assert found.size == whole.image.size
        height = event.rows * liquid.config.vqgan.factor
        top = liquid.decode(whole.codes[: event.rows])
        assert found.convert("RGB").crop((0, 0, found.width, height)).tobytes() == top.tobytes()
        assert found.getpixel((0, height))[3] == 0  # what is to come is transparent
    assert last.type == "image_generation.completed"
    assert picture(last.b64_json).tobytes() == whole.image.tobytes()
    assert last.usage.output_tokens == rows * columns


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_other_formats_are_sent(client, form):
    made = client.images.generate(
        prompt="a boat", output_format=form, stream=False, extra_body={"seed": 7}
    )
    assert picture(made.data[0].b64_json).format == form.upper()
    events = client.images.generate(
        prompt="a boat", output_format=form, stream=True, partial_images=1, extra_body={"seed": 7}
    )
    assert {picture(event.b64_json).format for event in events} == {form.upper()}


def test_an_edit_keeps_rows(client, liquid):
    made = client.images.generate(prompt="a boat", extra_body={"seed": 7})

    drawn = base64.b64decode(made.data[0].b64_json)
    edited = client.images.edit(
        image=("a.png", drawn), prompt="a tree", extra_body={"keep_rows": 2, "seed": 3}
    )
    (expected,) = liquid.edit(drawn, "a tree", seed=3, rows=2)
    assert picture(edited.data[0].b64_json).tobytes() == expected.image.tobytes()


def test_an_edit_draws_where_the_mask_is_transparent_and_streams(client, liquid, photo):
    mask = np.zeros((60, 80, 4), np.uint8)
    mask[30:, :, 3] = 255
    mask[:30, :, 3] = 0

    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    events = list(
        client.images.edit(
            image=("photo.png", photo),
            mask=("mask.png", file.getvalue()),
            prompt="a tree",
            stream=True,
            partial_images=1,
            extra_body={"seed": "3"},
        )
    )
    assert events[-1].type == "image_edit.completed"
    (expected,) = liquid.edit(photo, "a tree", seed=3, mask=file.getvalue())
    assert picture(events[-1].b64_json).tobytes() == expected.image.tobytes()


def test_variations_are_those_of_the_library(client, liquid, served):
    liquid.name = served.model  # a picture says of which model it is
    (picture_drawn,) = liquid.generate_image("a boat", seed=7)
    drawn = client.images.generate(prompt="a boat", extra_body={"seed": 7}).data[0].b64_json
    drawn = base64.b64decode(drawn)
    with pytest.warns(DeprecationWarning, match="deprecated"):  # it is OpenAI's that is given up
        made = client.images.create_variation(
            image=("a.png", drawn), n=2, extra_body={"strength": 0.4, "seed": 3}
        )
    expected = liquid.vary(picture_drawn, strength=0.4, seed=3, count=2)
    assert [picture(one.b64_json).tobytes() for one in made.data] == [
        one.image.tobytes() for one in expected
    ]


def test_the_best_of_several_is_that_of_the_library_with_its_scores(client, liquid):
    made = client.images.generate(
        prompt="a boat", extra_body={"seed": 7, "best_of": 3, "entropy": True}
    )
    (expected,) = liquid.generate_image("a boat", seed=7, best_of=3)
    assert picture(made.data[0].b64_json).tobytes() == expected.image.tobytes()
    scored = made.data[0].settings["best_of"]
    theirs = expected.settings.to_dict()["best_of"]
    assert scored["scores"] == pytest.approx(theirs["scores"], abs=1e-3)
    assert scored["score"] == max(scored["scores"].values())
    assert len(made.data[0].entropy) == expected.codes.size


def test_an_answer_about_a_picture_is_that_of_the_library(client, liquid, photo, photo_url):
    answer = client.chat.completions.create(model="", messages=asked(photo_url), max_tokens=12)
    assert answer.choices[0].message.content == liquid.answer(photo, QUESTION, max_tokens=12)
    steps = list(liquid.stream_answer(photo, QUESTION, max_tokens=12))
    assert answer.choices[0].finish_reason == steps[-1].finish_reason
    assert answer.usage.prompt_tokens == steps[-1].prompt_tokens
    assert answer.usage.completion_tokens == steps[-1].completion_tokens


def test_a_streamed_answer_is_the_same_in_pieces(client, liquid, photo, photo_url):
    chunks = list(
        client.chat.completions.create(
            model="",
            messages=asked(photo_url),
            max_tokens=12,
            temperature=1,
            seed=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    expected = liquid.answer(photo, QUESTION, max_tokens=12, temperature=1.0, seed=5)
    assert text == expected
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens > 0
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")


def test_a_conversation_goes_on_with_its_system_text_in_the_first_turn(client, liquid):
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "and now?"},
    ]
    got = client.chat.completions.create(model="", messages=messages, max_tokens=8)
    folded = [{"role": "user", "content": "Be short.\n\nhello"}, *messages[2:]]
    assert got.choices[0].message.content == liquid.chat(folded, max_tokens=8)


def test_stop_words_end_an_answer_and_are_not_in_it(client):
    def ask(**more):
        got = client.chat.completions.create(
            model="", messages=[{"role": "user", "content": "hello"}], max_tokens=16, **more
        )
        return got.choices[0]

    whole = ask().message.content
    word = whole[4:6]
    cut = ask(stop=[word])
    assert cut.message.content == whole[: whole.index(word)]
    assert cut.finish_reason == "stop"


def test_log_probabilities_are_those_of_the_model(client, liquid):
    got = client.chat.completions.create(
        model="",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=4,
        logprobs=True,
        top_logprobs=2,
    )
    ids = liquid.prompts.chat([{"role": "user", "content": "hello"}])
    for entry in got.choices[0].logprobs.content:
        logits = liquid.logits(ids)[-1]
        logs = np.array(logits - mx.logsumexp(logits))
        best = int(logs[: liquid.config.image_offset].argmax())
        assert entry.logprob == pytest.approx(float(logs[best]), abs=1e-4)
        assert entry.top_logprobs[0].logprob == pytest.approx(float(logs.max()), abs=1e-4)
        ids.append(best)


def test_several_answers_have_seeds_of_their_own(client, liquid):
    messages = [{"role": "user", "content": "hello"}]
    got = client.chat.completions.create(
        model="", messages=messages, max_tokens=8, temperature=1, seed=9, n=3
    )
    expected = [liquid.chat(messages, max_tokens=8, temperature=1.0, seed=9 + i) for i in range(3)]
    assert [choice.message.content for choice in got.choices] == expected


def test_token_ids_are_scored_as_evaluation_harnesses_need_it(client, liquid):
    ids = liquid.prompts.continued("a boat on a lake and so on")
    image = liquid.config.image_offset + 3
    for prompt in (ids, [*ids, image, *ids]):  # image tokens are tokens, too
        got = client.completions.create(
            model="", prompt=prompt, max_tokens=1, logprobs=1, echo=True, temperature=0, seed=1
        )
        logs = liquid.logits(prompt)
        logs = np.array(logs - mx.logsumexp(logs, axis=-1, keepdims=True))
        found = got.choices[0].logprobs
        expected = [row[token] for row, token in zip(logs[:-1], prompt[1:], strict=True)]
        assert found.token_logprobs[0] is None
        assert found.token_logprobs[1:-1] == pytest.approx(expected, abs=1e-3)
        top = [max(row.values()) for row in found.top_logprobs[1:-1]]
        assert top == pytest.approx(logs[:-1].max(axis=-1), abs=1e-3)
        assert len(found.tokens) == len(prompt) + 1


def test_prompts_are_continued_together_and_alone(client):
    prompts = ["a boat", "a tree", "hello"]
    together = client.completions.create(model="", prompt=prompts, max_tokens=6)
    for prompt, choice in zip(prompts, together.choices, strict=True):
        alone = client.completions.create(model="", prompt=prompt, max_tokens=6)
        assert alone.choices[0].text == choice.text
    chunks = list(client.completions.create(model="", prompt="a boat", max_tokens=6, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == together.choices[0].text
    echoed = client.completions.create(model="", prompt="a boat", max_tokens=0, echo=True)
    assert echoed.choices[0].text == "a boat"


def test_choices_and_captions_are_those_of_the_library(served, liquid, photo, photo_url):
    body = {"question": QUESTION, "image": photo_url, "choices": ["a boat", "a tree", "red"]}
    got = served.post("/v1/choices", body).json()["choices"]
    expected = liquid.choose(photo, QUESTION, body["choices"])
    assert [one["text"] for one in got] == list(expected)
    assert [one["probability"] for one in got] == pytest.approx(list(expected.values()), abs=1e-4)
    got = served.post("/v1/captions", {"image": photo_url, "max_tokens": 8}).json()
    assert got["text"] == liquid.caption(photo, max_tokens=8)


ERRORS = {
    "no such model": (openai.NotFoundError, "model", {"model": "gpt-9"}),
    "empty prompt": (openai.BadRequestError, "prompt", {"prompt": " "}),
    "too many": (openai.BadRequestError, "n", {"n": 11}),
    "unknown size": (openai.BadRequestError, None, {"size": "17x17"}),
    "no size": (openai.BadRequestError, "size", {"size": "big"}),
    "a url": (openai.BadRequestError, "response_format", {"response_format": "url"}),
    "a format": (openai.BadRequestError, "output_format", {"output_format": "gif"}),
    "a text for a number": (openai.BadRequestError, "guidance", {"guidance": "high"}),
    "a seed": (openai.BadRequestError, "seed", {"seed": 2**32}),
    "a long prompt": (openai.BadRequestError, None, {"prompt": "a " * 9000}),
    "a very long prompt": (openai.BadRequestError, "prompt", {"prompt": "a" * 40_000}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ERRORS)
def test_errors_have_the_status_and_the_name_of_the_field(client, name, stream):
    kind, param, values = ERRORS[name]
    arguments = {"prompt": "a boat", **values}
    extra = {key: arguments.pop(key) for key in ("guidance", "seed") if key in arguments}
    with pytest.raises(kind) as error:
        client.images.generate(**arguments, stream=stream, extra_body=extra)
    assert error.value.param == param
    assert error.value.type
    assert str(error.value.message)


def test_unsupported_things_are_refused_not_ignored(client):
    with pytest.raises(openai.BadRequestError, match="functions"):
        client.chat.completions.create(
            model="",
            messages=[{"role": "user", "content": "hello"}],
            tools=[{"type": "function", "function": {"name": "f"}}],
        )


def test_pictures_in_an_answer_are_sent_with_it(converted):
    asked_for = [{"role": "user", "content": "draw a boat"}]
    settings = {"max_tokens": 14, "temperature": 1.0, "seed": 11}
    with serving([str(converted("gemma_tiny", interleaved=True))], Options()) as running:
        model = running.state.models.loaded[running.model].liquid
        model.engine.stop = set()
        object.__setattr__(model.config, "interleaved", False)
        tokens = [step.token for step in model.stream_chat(asked_for, **settings)]
        object.__setattr__(model.config, "interleaved", True)
        model.prompts._special["boi"] = tokens[3]  # a token that it does write
        steps = list(model.stream_chat(asked_for, **settings))
        text = "".join(step.text for step in steps if isinstance(step, TextStep))
        drawn = [
            step.images()[0].image.tobytes()
            for step in steps
            if isinstance(step, ImageStep) and step.position == step.total
        ]
        assert drawn

        def pictures(images):
            urls = [image["image_url"]["url"] for image in images]
            return [picture(url.split(",")[1]).tobytes() for url in urls]

        body = {"messages": asked_for, **settings}
        message = running.post("/v1/chat/completions", body).json()["choices"][0]["message"]
        assert message["content"] == text
        assert pictures(message["images"]) == drawn
        streamed = running.post("/v1/chat/completions", {**body, "stream": True}).text
        events = [json.loads(line[6:]) for line in streamed.split("\n\n") if "{" in line]
        deltas = [event["choices"][0]["delta"] for event in events]
        assert "".join(delta.get("content", "") for delta in deltas) == text
        assert pictures([image for delta in deltas for image in delta.get("images", [])]) == drawn


def test_pictures_that_come_at_once_are_told_apart(served, liquid):
    colours = [(40 * i, 255 - 30 * i, 17 * i) for i in range(6)]
    pictures = [png_bytes(Image.new("RGB", (64, 64), colour)) for colour in colours]
    expected = [liquid.caption(one, max_tokens=8).strip() for one in pictures]

    def caption(one):
        return served.post("/v1/captions", {"image": data_url(one), "max_tokens": 8}).json()["text"]

    with ThreadPoolExecutor(len(pictures)) as threads:
        for _ in range(3):
            assert list(threads.map(caption, pictures)) == expected
