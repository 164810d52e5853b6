"""VQAv2 and TextVQA: soft accuracy against ten people's answers.

What two answers must share to be equal is the official scripts' processing, quirks included:
``vqaEval.py`` of GT-Vision-Lab/VQA, and the ``EvalAIAnswerProcessor`` of Pythia that LLaVA and
Liquid use for TextVQA and before they submit VQAv2's answers.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import Item, Row, Scored, mean
from liquid_mlx.evaluation.records import Answers, need, read_any

_NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
NUMBERS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"zero": "0"}
ARTICLES = ("a", "an", "the")
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_SPELLED = """
'ow's'at 'twas I'd've I'm I've ain't aren't can't could've couldn't couldn't've didn't doesn't
don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll
ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't shan't she'd've
should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've wasn't we'd've we've weren't what'll what're
what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're
you've
"""
# A word that lacks one of its apostrophes -> with it. One entry of the official table goes the
# other way, and those for "let's" and "she's" do nothing.
CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _SPELLED.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
# A thousands' separator, and a period that is no decimal point. vqaEval.py is for Python 2, where
# digits are those of ASCII.
_VQA = re.compile(r"\d,\d", re.ASCII), re.compile(r"\.(?!\d)", re.ASCII)
_TEXTVQA = re.compile(r"\d,+\d"), re.compile(r"\.(?!\d)")
MOST_PERIODS = 32  # both scripts pass re.UNICODE, which is 32, where re.sub takes a count
PEOPLE = 10


def _punctuation(text: str, patterns: tuple[re.Pattern[str], re.Pattern[str]]) -> str:
    """Every mark goes or becomes a space; which one depends on the whole text as it was."""
    thousands, period = patterns
    commas = thousands.search(text) is not None
    out = text
    for mark in PUNCTUATION:
        gone = commas or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if gone else " ")
    return period.sub("", out, count=MOST_PERIODS)


def _words(text: str) -> str:
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def vqa_processed(text: str) -> str:
    """An answer as ``vqaEval.py`` compares it, where people's answers differ."""
    return _words(_punctuation(_one_line(text), _VQA))


def textvqa_processed(text: str) -> str:
    """An answer as the ``EvalAIAnswerProcessor`` leaves it."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _words(_punctuation(_one_line(text), _TEXTVQA))


def agreement(answer: str, people: Sequence[str], same: Sequence[int] | None = None) -> float:
    """How many of the others agree, a third each, at most 1: averaged over leaving each out.

    ``same[i]`` says how many of the entries are the very entry i; all of them are left out.
    """
    agreeing = people.count(answer)
    shares: list[float] = []
    for i, person in enumerate(people):
        left_out = same[i] if same else 1
        shares.append(min(1, (agreeing - left_out * (person == answer)) / 3))
    return reduce(operator.add, shares) / len(shares)


def _same(entries: Sequence[Mapping[str, Any]]) -> list[int]:
    """``vqaEval.py`` leaves out every entry that equals one: of the official files, just it."""
    if len({entry.get("answer_id") for entry in entries}) == len(entries):
        return [1] * len(entries)
    return [entries.count(entry) for entry in entries]


def score_vqav2(answers: Answers, annotations: Path, questions: Path | None = None) -> Scored:
    """VQAv2's accuracy, over all questions of the annotations, and by kind of question and answer.

    Args:
        answers: one that is missing counts as "". JSONL is processed first, as
            ``convert_vqav2_for_submission.py`` does; an array is what it would have written.
        annotations: ``v2_mscoco_val2014_annotations.json``.

    Raises:
        FileError: the annotations are others, or know none of the answers' questions.
    """
    (notes,) = need(read_any(annotations), "annotations", path=annotations, what="the file")
    given = {
        id: row.text if answers.submitted else textvqa_processed(row.text)
        for id, row in answers.by_id().items()
    }
    asked = {row.id: row.prompt for row in answers.rows}
    parts: dict[str, list[Row]] = {"all": []}
    items = []
    for note in notes:
        id, people = need(note, "question_id", "answers", path=annotations, what="an annotation")
        answer = _one_line(given.get(id, ""))
        texts = [
            _one_line(need(person, "answer", path=annotations, what="an answer")[0])
            for person in people
        ]
        if len(set(texts)) > 1:
            answer, texts = vqa_processed(answer), [vqa_processed(text) for text in texts]
        entries = [{**person, "answer": text} for person, text in zip(people, texts, strict=True)]
        score = agreement(answer, texts, _same(entries))
        for part in _parts(note):
            parts.setdefault(part, []).append((score, 1))
        items.append(Item(id, asked.get(id, ""), answer, _most(texts), score))
    if not any(item.id in given for item in items):
        raise FileError(f"{annotations} has none of the questions that {answers.path} answers.")
    return Scored("vqav2", parts, mean("accuracy"), items)


def _parts(note: Mapping[str, Any]) -> list[str]:
    kinds = ("answer_type", "question_type")
    return ["all", *(f"{kind.replace('_', ' ')} {note[kind]}" for kind in kinds if kind in note)]


def score_textvqa(answers: Answers, annotations: Path, questions: Path | None = None) -> Scored:
    """TextVQA's accuracy over the answers that the file has.

    Args:
        answers: JSONL whose ``question_id`` is the image's, as LLaVA's and Liquid's.
        annotations: ``TextVQA_0.5.1_val.json``.

    Raises:
        FileError: the annotations are others, or lack a question.
    """
    (data,) = need(read_any(annotations), "data", path=annotations, what="the file")
    notes = {}
    for note in data:
        image, question, people = need(
            note, "image_id", "question", "answers", path=annotations, what="an annotation"
        )
        if len(people) != PEOPLE:
            raise FileError(f"{annotations}: {image} has {len(people)} answers, not {PEOPLE}.")
        notes[image, question.lower()] = people
    rows: list[Row] = []
    items = []
    for answer in answers.rows:
        question = textvqa_question(answer.prompt)
        if question is None or (answer.id, question.lower()) not in notes:
            raise FileError(
                f"{annotations} has no question {(question or answer.prompt)[:80]!r} about "
                f"{str(answer.id)[:50]}, which {answers.path} answers."
            )
        people = [textvqa_processed(text) for text in notes[answer.id, question.lower()]]
        processed = textvqa_processed(answer.text)
        score = agreement(processed, people)
        rows.append((score, 1))
        items.append(Item(answer.id, question, processed, _most(people), score, str(answer.id)))
    return Scored("textvqa", {"all": rows}, mean("accuracy"), items)


def textvqa_question(prompt: str) -> str | None:
    """The question inside a prompt of LLaVA's, with or without OCR tokens; None: there is none."""
    lines = prompt.split("\n")
    if prompt.startswith("OCR tokens: "):
        found = re.search(r"Question: (.*?) Short answer:", prompt, re.DOTALL)
        return found.group(1) if found else None
    if "Reference OCR token: " in prompt and len(lines) == 3:
        return lines[1 if prompt.startswith("Reference OCR token:") else 0]
    return lines[0] if len(lines) == 2 else None


def _most(texts: Sequence[str]) -> str:
    return max(texts, key=texts.count) if texts else ""
