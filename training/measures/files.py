"""The everyday questions and prompts as files: ``python -m training.measures.files FOLDER``.

Writes what `liquid evaluate custom` and `liquid evaluate draw custom` read: questions.jsonl,
notes.jsonl, pictures/ and prompts.txt. Questions that a list of answers cannot decide
(descriptions, places) are left to ``training.evaluate``.
"""

import json
import sys
from pathlib import Path

from training import everyday


def write(folder: Path) -> tuple[int, int]:
    """Write the files; how many questions and prompts there are."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    questions, notes = [], []
    for number, entry in enumerate(everyday.load("question")):
        if "answers" not in entry:
            continue
        scene = json.dumps(entry["scene"])
        if scene not in names:
            names[scene] = f"{len(names):03}.png"
            everyday.shown(entry["scene"]).save(pictures / names[scene])
        question = {"question_id": number, "image": names[scene], "text": entry["question"]}
        kind = "off the grid" if entry["off_grid"] else "on the grid"
        questions.append(question)
        notes.append({"question_id": number, "answer": entry["answers"], "category": kind})
    for name, rows in (("questions", questions), ("notes", notes)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    prompts = [entry["prompt"] for entry in everyday.load("prompt")]
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))
    return len(questions), len(prompts)


if __name__ == "__main__":
    print("{} questions, {} prompts".format(*write(Path(sys.argv[1]))))
