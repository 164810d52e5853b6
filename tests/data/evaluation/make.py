"""Make the stored answers and what the official scripts say of them.

    python tests/data/evaluation/make.py LLAVA VQA MME GQA

LLAVA, VQA are clones of haotian-liu/LLaVA and GT-Vision-Lab/VQA; MME is the unpacked
``eval_tool`` of BradyFU/Awesome-Multimodal-Large-Language-Models (branch Evaluation); GQA is the
official ``eval.py``. Needs scikit-learn and tqdm; VQA's script needs Python 2.7. The README beside
this file names the commits. The official scripts run as they are, in processes of their own.
"""

import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
WORDS = (
    "a an the A The red Red blue two Two ten none None zero one's dog's dogs dont don't Dont cant "
    "couldntve couldn'tve couldnt've its it's Im im ive Ive somebody'd somebodyd theyll yall'd've "
    "y'allll ow's'at 'ow'sat twas whats wheres oclock stop STOP coca-cola 7-up 1,000 1,2,3 10,,5 "
    '3.5 .5 5. 5.0 v2.0 a.m. U.S.A. no. yes, yes! (left) [x] {y} "quoted" and/or a+b x=1 <b> '
    "@home `tick` under_score semi;colon really? wow! don\\'t 100% $5 #1 & * café naïve ٣,٤ ½ 東京 "
    "1/2 2-3 -5 +3 ... ..... , ; - _ ? ! kitchen's left, right ,left l'eau ,, 0 1 2 9 10 ninety"
).split()
SPACES = (" ", " ", " ", " ", "  ", "\n", "\t", ", ", " , ", " - ", "-", "/", ". ", "")
QUESTION_TYPES = ("what", "is the", "how many", "what color is the")


def text(rng: random.Random) -> str:
    """An answer of a few words, or one of the odd ones."""
    odd = rng.random()
    if odd < 0.02:
        return rng.choice(["", " ", "\n", "the", "a an", ".", "?", "a. " * 40, "1." * 40])
    parts = [rng.choice(WORDS)]
    while rng.random() < 0.45:
        parts += [rng.choice(SPACES), rng.choice(WORDS)]
    return (
        rng.choice(["", "", "", " ", "\n"]) + "".join(parts) + rng.choice(["", "", ".", " ", "\n"])
    )


def altered(answer: str, rng: random.Random) -> str:
    """The same answer as somebody else would write it, often with the same meaning."""
    change = rng.randrange(8)
    if change == 0:
        return answer.upper()
    if change == 1:
        return "the " + answer
    if change == 2:
        return answer + rng.choice(".,?!")
    if change == 3:
        return answer.replace("'", "")
    if change == 4:
        return answer.replace(" ", "-")
    if change == 5:
        return answer.replace("2", "two").replace("two", "2")
    return answer


def people(rng: random.Random) -> list[str]:
    """Ten people's answers."""
    pool = [text(rng) for _ in range(rng.choice([1, 1, 2, 3, 5]))]
    unanimous = rng.random() < 0.1
    return [pool[0] if unanimous else altered(rng.choice(pool), rng) for _ in range(10)]


def guess(answers: list[str], rng: random.Random) -> str:
    return altered(rng.choice(answers), rng) if rng.random() < 0.8 else text(rng)


def run(*command: object, folder: Path | None = None) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def store(name: str, values: object) -> None:
    data = json.dumps(values, ensure_ascii=False, indent=0).encode()
    (HERE / f"{name}.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


def write(path: Path, values: object, lines: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(v) for v in values] if lines else [json.dumps(values)]
    path.write_text("".join(row + "\n" for row in rows))
    return path


TEXTVQA = """
import json, sys
sys.path.insert(0, sys.argv[1])
from llava.eval import eval_textvqa, m4c_evaluator
kept = []
own = m4c_evaluator.TextVQAAccuracyEvaluator.eval_pred_list
def listening(self, preds):
    kept.extend(own(self, [one]) for one in preds)
    return own(self, preds)
m4c_evaluator.TextVQAAccuracyEvaluator.eval_pred_list = listening
eval_textvqa.eval_single(sys.argv[2], sys.argv[3])
p = m4c_evaluator.EvalAIAnswerProcessor()
json.dump([kept, [p(json.loads(l)["text"]) for l in open(sys.argv[3])]], open(sys.argv[4], "w"))
"""


def textvqa(llava: Path, folder: Path) -> None:
    rng = random.Random("textvqa")
    data, answers = [], []
    for i in range(1200):
        question = f"What is {rng.choice('ABC')} number {i}?"
        given = people(rng)
        data.append({"image_id": f"img{i}", "question": question, "answers": given})
        ocr = f"Reference OCR token: {text(rng)!r}"
        ask = "Answer the question using a single word or phrase."
        prompt = rng.choice(
            [
                f"{question}\n{ask}",
                f"{question}\n{ocr}\n{ask}",
                f"{ocr}\n{question}\n{ask}",
                f"OCR tokens: x, y. Question: {question} Short answer:",
            ]
        )
        answers.append({"question_id": f"img{i}", "prompt": prompt, "text": guess(given, rng)})
    rng.shuffle(answers)
    notes = write(folder / "a.json", {"data": data})
    found = write(folder / "r.jsonl", answers, lines=True)
    script = folder / "run.py"
    script.write_text(TEXTVQA)
    shown = run(sys.executable, script, llava, notes, found, folder / "o.json")
    scores, processed = json.loads((folder / "o.json").read_text())
    store(
        "textvqa",
        {
            "annotations": {"data": data},
            "answers": answers,
            "scores": scores,
            "processed": processed,
            "printed": re.search(r"Accuracy: ([\d.]+)%", shown).group(1),
        },
    )


VQA = """
# coding: utf-8
import json, sys
sys.path[:0] = [sys.argv[1] + "/PythonEvaluationTools", sys.argv[1] + "/PythonHelperTools/vqaTools"]
from vqaEvaluation.vqaEval import VQAEval
from vqa import VQA
vqa = VQA(sys.argv[2], sys.argv[3])
found = VQAEval(vqa, vqa.loadRes(sys.argv[4], sys.argv[3]), n=17)
found.evaluate()
json.dump([found.accuracy, found.evalQA], open(sys.argv[5], "w"))
"""
CONVERT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from llava.eval.m4c_evaluator import EvalAIAnswerProcessor
p = EvalAIAnswerProcessor()
rows = [json.loads(l) for l in open(sys.argv[2])]
out = [{"question_id": r["question_id"], "answer": p(r["text"])} for r in rows]
json.dump(out, open(sys.argv[3], "w"))
"""


def vqav2(llava: Path, vqa: Path, folder: Path) -> None:
    rng = random.Random("vqav2")
    notes, questions, answers = [], [], []
    for i in range(1200):
        given = people(rng)
        notes.append(
            {
                "question_id": i,
                "image_id": i // 3,
                "question_type": rng.choice(QUESTION_TYPES),
                "answer_type": rng.choice(["yes/no", "number", "other"]),
                "answers": [
                    {"answer": a, "answer_confidence": "yes", "answer_id": n}
                    for n, a in enumerate(given, 1)
                ],
            }
        )
        questions.append({"question_id": i, "image_id": i // 3, "question": "?"})
        answers.append({"question_id": i, "prompt": "?", "text": guess(given, rng)})
    head = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": "val2014"}
    asked = {**head, "task_type": "Open-Ended", "questions": questions}
    files = {
        "notes": write(folder / "n.json", {**head, "annotations": notes}),
        "questions": write(folder / "q.json", asked),
        "answers": write(folder / "a.jsonl", answers, lines=True),
    }
    (folder / "vqa.py").write_text(VQA)
    (folder / "convert.py").write_text(CONVERT)
    raw = [{"question_id": a["question_id"], "answer": a["text"]} for a in answers]
    results = {"raw": write(folder / "raw.json", raw), "converted": folder / "converted.json"}
    run(sys.executable, folder / "convert.py", llava, files["answers"], results["converted"])
    official = {}
    for name, file in results.items():
        out = folder / f"{name}.out.json"
        command = ("python2.7", folder / "vqa.py", vqa, files["notes"], files["questions"])
        run(*command, file, out, folder=folder)
        official[name] = json.loads(out.read_text())
    store("vqav2", {"annotations": {"annotations": notes}, "answers": answers, **official})


def pope(llava: Path, folder: Path) -> None:
    rng = random.Random("pope")
    replies = (
        "yes|Yes|no|No|NO|nope|Yes, there is.|No, there is not.|no,|Not at all|not sure|There is no"
        " dog. Yes it is|I do not know|yes no|Yes. No.||.|.no|know|It is not. yes|no\n|, no|n o|NOT"
        "|Yes,no|There isn't"
    ).split("|")
    questions, answers, labels = [], [], {}
    for split in ("random", "popular", "adversarial"):
        labels[split] = []
        for _ in range(500):
            number = len(questions)
            label = rng.choice(["yes", "no"])
            asked = f"Is there a thing {number} in the image?"
            questions.append(
                {"question_id": number, "image": f"{number}.jpg", "text": asked, "category": split}
            )
            labels[split].append(
                {"question_id": number + 1, "image": f"{number}.jpg", "text": asked, "label": label}
            )
            reply = label if rng.random() < 0.6 else rng.choice(replies)
            answers.append({"question_id": number, "prompt": asked, "text": reply})
    for split, rows in labels.items():
        write(folder / "coco" / f"coco_pope_{split}.json", rows, lines=True)
    shown = run(
        *(sys.executable, llava / "llava/eval/eval_pope.py"),
        *("--annotation-dir", folder / "coco"),
        *("--question-file", write(folder / "q.jsonl", questions, lines=True)),
        *("--result-file", write(folder / "a.jsonl", answers, lines=True)),
    )
    printed = {}
    for block in shown.split("Category: ")[1:]:
        split = block.split(",")[0]
        counts = [int(n) for n in block.splitlines()[2].split()]
        names = ("Accuracy", "Precision", "Recall", "F1 score", "Yes ratio")
        figures = {n: float(re.search(rf"{n}: (.*)", block).group(1)) for n in names}
        printed[split] = {"counts": counts, **figures}
    store(
        "pope", {"questions": questions, "answers": answers, "labels": labels, "official": printed}
    )


MME_TASKS = (
    "existence count position color posters celebrity scene landmark artwork OCR "
    "commonsense_reasoning numerical_calculation text_translation code_reasoning"
).split()


def mme(tool: Path, folder: Path) -> None:
    rng = random.Random("mme")
    replies = (
        "yes|no|Yes.|No.|none|Nope|know|Not|not|I say yes|Well no| yes|  no|yesno|noyes|YES|y|n|"
        "maybe||It is|ye s|no idea|nyes|  y|A no"
    ).split("|")
    rows: dict[str, list[list[str]]] = {}
    for task in MME_TASKS:
        rows[task] = []
        for i in range(rng.choice([20, 30, 45, 60])):
            for asked, truth in (("Is it so?", "Yes"), ("Is it not so?", "No")):
                reply = truth if rng.random() < 0.55 else rng.choice(replies)
                question = f"{asked} {i} Please answer yes or no."
                rows[task].append([f"{i:04}.png", question, truth, reply])
        text = "".join("\t".join(row) + "\n" for row in rows[task])
        (folder / f"{task}.txt").write_text(text)
    shown = run(sys.executable, tool / "calculation.py", "--results_dir", folder)
    totals = [float(n) for n in re.findall(r"total score: (\S+)", shown)]
    single = {name: float(n) for name, n in re.findall(r"\t (\w+)  score: (\S+)", shown)}
    official = {"Perception": totals[0], "Cognition": totals[1], **single}
    store("mme", {"rows": rows, "official": official})


def gqa(script: Path, folder: Path) -> None:
    rng = random.Random("gqa")
    words = "yes no red blue left right dog cat table white shirt".split()
    questions, answers = {}, []
    for i in range(1200):
        structural = rng.choice(["query", "verify", "logical", "choose", "compare"])
        answer = rng.choice(words[:2] if structural in ("verify", "logical") else words[2:])
        steps = rng.randrange(1, 5)
        operations = [
            {
                "operation": rng.choice(["select", "filter color", "exist", "query"]),
                "argument": rng.choice(["dog (1)", "name", "red"]),
            }
            for _ in range(steps)
        ]
        questions[f"q{i}"] = {
            "question": "What " * rng.randrange(2, 9) + "?",
            "answer": answer,
            "isBalanced": rng.random() < 0.95,
            "imageId": f"n{i // 4}",
            "types": {
                "structural": structural,
                "semantic": rng.choice(["obj", "attr", "rel", "cat", "global"]),
                "detailed": "x",
            },
            "semantic": operations,
            "groups": {"global": rng.choice(["color", None]), "local": "x"},
            "entailed": [f"q{rng.randrange(1200)}" for _ in range(rng.randrange(3))],
            "annotations": {"question": {}, "fullAnswer": {}},
        }
        reply = answer if rng.random() < 0.6 else rng.choice(words)
        style = rng.randrange(5)
        reply = [reply, reply.title(), reply + ".", reply + "...", f" {reply}"][style]
        answers.append({"question_id": f"q{i}", "prompt": "?", "text": reply})
    predictions = [  # scripts/convert_gqa_for_eval.py
        {"questionId": a["question_id"], "prediction": a["text"].rstrip(".").lower()}
        for a in answers
    ]
    write(folder / "testdev_questions.json", questions)
    write(folder / "testdev_predictions.json", predictions)
    source = script.read_text()
    copy = folder / "eval.py"
    copy.write_text(source.replace(":.2f}", "!r}"))  # unrounded
    shown = run(
        *(sys.executable, copy, "--tier", "testdev", "--consistency"),
        *("--questions", "testdev_questions.json"),
        folder=folder,
    )
    store(
        "gqa",
        {"questions": questions, "answers": answers, "printed": shown[shown.index("Binary") :]},
    )


def main() -> None:
    llava, vqa, tool, script = map(Path, sys.argv[1:])
    for make, places in (
        (textvqa, (llava,)),
        (vqav2, (llava, vqa)),
        (pope, (llava,)),
        (mme, (tool,)),
        (gqa, (script,)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            make(*places, Path(folder))


if __name__ == "__main__":
    main()
