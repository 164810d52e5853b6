"""Drawing a set of prompts, taken up where it was left; and the model's own judgement of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.errors import FileError, PromptError
from liquid_mlx.evaluation.figures import Groups, Item, Row, Scored, Sums
from liquid_mlx.evaluation.prompt_sets import Task, pictures
from liquid_mlx.files import atomic_file, atomic_write
from liquid_mlx.images import load_image, save_png
from liquid_mlx.params import SEEDS

if TYPE_CHECKING:
    from PIL import Image

    from liquid_mlx.model import Liquid
    from liquid_mlx.results import GeneratedImage

BATCH = 16  # pictures between two looks at the disk
QUESTION = 'Does this figure show "{}"? Please answer yes or no.'  # of VQAScore
YES, NO = "Yes", "No"
Progress = Callable[[int, int], None]  # pictures done, and of how many


def draw_set(
    liquid: Liquid,
    tasks: Sequence[Task],
    folder: Path,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress = lambda done, total: None,
    **settings: Any,
) -> list[tuple[Task, PromptError]]:
    """Draw what the folder does not have yet; those that failed, with the reason.

    Every picture has a seed of its own that follows from its place in the set, and every file
    appears whole: killed and taken up again, or shared out among processes by handing each some
    of the tasks, a set becomes the same pictures (in float32; see ``Liquid.generate_images``).

    Args:
        seed: picture j of a task has ``seed + index * count + j`` (modulo 2**32).
        batch_size: pictures at once; files are written after each batch.
        settings: of ``Liquid.generate_images``.
    """
    todo = [task for task in tasks if not is_drawn(task, folder)]
    done, total = 0, pictures(todo)
    failed: list[tuple[Task, PromptError]] = []
    for part in _batches(todo, batch_size or BATCH):

        def shown(count: int, before: int = done) -> None:
            progress(before + count, total)

        for task, result in _draw(liquid, part, seed, shown, settings):
            if isinstance(result, PromptError):
                failed.append((task, result))
            else:
                _write(folder, task, result)
        done += pictures(part)
        progress(done, total)
    return failed


def is_drawn(task: Task, folder: Path) -> bool:
    """Whether the folder has all pictures of a task."""
    return all((folder / name).exists() for name in task.files)


def _batches(tasks: Sequence[Task], most: int) -> Iterator[Sequence[Task]]:
    each = max(1, most // max((task.count for task in tasks), default=1))
    for start in range(0, len(tasks), each):
        yield tasks[start : start + each]


def _draw(
    liquid: Liquid,
    tasks: Sequence[Task],
    seed: int,
    shown: Callable[[int], None],
    settings: dict[str, Any],
) -> Iterator[tuple[Task, list[GeneratedImage] | PromptError]]:
    """The pictures of some tasks, or why one has none."""
    prompts = [task.prompt for task in tasks for _ in range(task.count)]
    seeds = [
        (seed + task.index * task.count + j) % SEEDS for task in tasks for j in range(task.count)
    ]
    drawn: list[GeneratedImage] = []
    try:
        for step in liquid.stream_images(prompts, seeds=seeds, batch_size=len(prompts), **settings):
            shown(step.position * len(prompts) // step.total)
            if step.position == step.total:
                drawn += step.images()
    except PromptError as error:
        if len(tasks) == 1:
            yield tasks[0], error
            return
        for task in tasks:  # one of them is too long: alone it fails alone
            yield from _draw(liquid, [task], seed, shown, settings)
        return
    start = 0
    for task in tasks:
        yield task, drawn[start : start + task.count]
        start += task.count


def _write(folder: Path, task: Task, drawn: Sequence[GeneratedImage]) -> None:
    for name, text in task.beside.items():
        atomic_write(folder / name, text)
    for name in task.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if task.grid:
        save_png(grid([picture.image for picture in drawn]), folder / task.files[0])
        return
    for name, picture in zip(task.files, drawn, strict=True):
        if name.endswith(".png"):
            picture.save(folder / name)
        else:  # JPEG as the reference saves it
            with atomic_file(folder / name) as tmp:
                picture.image.save(tmp, "JPEG")


def grid(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size, two a row."""
    from PIL import Image

    width, height = images[0].size
    whole = Image.new("RGB", (width * min(2, len(images)), height * ((len(images) + 1) // 2)))
    for i, image in enumerate(images):
        whole.paste(image, (i % 2 * width, i // 2 * height))
    return whole


def _opened(folder: Path, task: Task) -> list[Image.Image]:
    """A task's pictures; a grid is cut up again."""
    try:
        images = [load_image(folder / name) for name in task.files]
    except FileNotFoundError as error:
        raise FileError(f"{error.filename} is missing: draw the set first.") from None
    if not task.grid or task.count == 1:
        return images
    whole, rows = images[0], (task.count + 1) // 2
    width, height = whole.width // 2, whole.height // rows
    corners = [(i % 2 * width, i // 2 * height) for i in range(task.count)]
    return [whole.crop((x, y, x + width, y + height)) for x, y in corners]


def judge(
    liquid: Liquid,
    tasks: Sequence[tuple[int, Task]],
    folder: Path,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[int, list[float]]]:
    """What the model itself says of pictures: comparable with nothing but its own other settings.

    Yields each task's number with three means over its pictures: the probability of "Yes" against
    "No" to whether the picture shows the prompt (the question of VQAScore), the same of the best
    picture, and the prompt's log-likelihood as a caption, per token.

    Raises:
        FileError: a picture is missing.
    """
    for i, (number, task) in enumerate(tasks):
        yes, likelihoods = [], []
        for image in _opened(folder, task):
            shares = liquid.choose(image, QUESTION.format(task.prompt), [YES, NO])
            yes.append(shares[YES])
            total, length = caption_log_likelihood(liquid, image, task.prompt)
            likelihoods.append(total / length)
        yield number, [sum(yes) / len(yes), max(yes), sum(likelihoods) / len(likelihoods)]
        progress(i + 1, len(tasks))


def judged(tasks: Sequence[Task], found: Sequence[Sequence[float]]) -> Scored:
    """Means over prompts of what ``judge`` says of each: yes, best_yes, log_likelihood."""
    parts: dict[str, list[Row]] = {"all": []}
    items = []
    for task, values in zip(tasks, found, strict=True):
        row = (*values, 1.0)
        for part in ("all", *task.groups):
            parts.setdefault(part, []).append(row)
        items.append(Item(task.index, task.prompt, f"yes {row[0]:.3f}", "", row[0], task.files[0]))
    return Scored("judged", parts, _means, items)


def _means(sums: Sums) -> Groups:
    return {
        part: {
            "yes": yes / count,
            "best_yes": best / count,
            "log_likelihood": likelihood / count,
            "samples": round(count),
        }
        for part, (yes, best, likelihood, count) in sums.items()
    }


def caption_log_likelihood(liquid: Liquid, picture: Any, text: str) -> tuple[float, int]:
    """Log-probability that the model captions a picture so and stops, and of how many tokens."""
    shared, rest = liquid.prompts.caption(liquid.encode(picture))
    reply = liquid.prompts.reply(text)
    return liquid.engine.score(shared, rest, [reply])[0], len(reply) + 1
