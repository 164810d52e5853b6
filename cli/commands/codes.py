"""``liquid encode`` and ``liquid decode``: images to VQ codes of the image tokenizer, and back."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liquid_mlx.display import to_json
from liquid_mlx.errors import FileError, LiquidError, UsageError
from liquid_mlx.files import atomic_write, read_bytes, user_path

from .. import options, together, training_data
from ..inputs import Source, expand, is_web
from ..outputs import check_free, slug
from ..terminal import Status, about

if TYPE_CHECKING:
    import numpy as np

    from liquid_mlx.distributed.ranks import Team
    from liquid_mlx.model import Liquid

MOST_BYTES = 1 << 26  # of a file of codes


def encode(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders, globs, URLs, or - (stdin).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="NAME", help=".npy, .json or .jsonl, or a folder."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL of image_path and text, instead of images."),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="pad to a square, or crop the centre."),
    ] = None,
    psnr: Annotated[
        bool, typer.Option("--psnr", help="Decode again and print the PSNR in dB.")
    ] = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per file.")] = False,
    model: options.Model = "demo",
    no_exif: options.NoExif = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn images into VQ codes. A .jsonl is training data in the format of Liquid's scripts."""
    training = output is not None and output.endswith(".jsonl")
    if pairs is not None and (pictures or not training):
        raise UsageError("--pairs needs -o NAME.jsonl, and cannot be combined with other images.")
    if not pairs and not pictures:
        raise UsageError("Give an image.")
    if fit not in (None, "pad", "crop"):
        raise UsageError(f"--fit is pad or crop, not {fit!r}.")
    if training and fit == "pad":
        raise UsageError("--fit pad and .jsonl cannot be combined: training data is cropped.")
    if training and psnr:
        raise UsageError("--psnr and .jsonl cannot be combined.")
    if training and skip_existing:
        raise UsageError("--skip-existing and .jsonl cannot be combined: it is written whole.")
    with Status(quiet) as status:
        team = together.start(status)
        if output is not None and training:
            path = user_path(output)
            with team.together():
                check_free([path], overwrite)
                names = pictures or []
                found = training_data.pairs(pairs) if pairs else training_data.captioned(names)
            together.same(team, "images", [f"{pair.path} {pair.text}" for pair in found])
            liquid = options.load_model(model, status, team=team)
            failed = training_data.write(liquid, found, path, status, team)
            if team.first:
                print(path)
        else:
            with team.together():
                sources = expand(pictures or [])
                paths = _code_paths(output, [source.name for source in sources])
                check_free(paths, overwrite or skip_existing)
            together.same(team, "images", [source.name for source in sources])
            there = team.anywhere([skip_existing and path.exists() for path in paths])
            pairs_left = zip(sources, paths, there, strict=True)
            tasks = [(source, path) for source, path, known in pairs_left if not known]
            liquid = options.load_model(model, status, team=team)
            encoder = _Encoder(liquid, fit or "pad", not no_exif, psnr)
            failed = _encode(encoder, tasks, status, as_json, overwrite, team)
    if failed:
        raise typer.Exit(3)


@dataclass(frozen=True)
class _Encoder:
    """How images become codes."""

    liquid: Liquid
    fit: str
    exif: bool
    psnr: bool

    def encode(self, picture: Path | bytes) -> tuple[np.ndarray, float | None]:
        """VQ codes, int32 [rows, columns], and the PSNR in dB if asked for."""
        codes = self.liquid.encode(picture, fit=self.fit, exif=self.exif)
        return codes, self._psnr(picture, codes) if self.psnr else None

    def _psnr(self, picture: Path | bytes, codes: np.ndarray) -> float:
        """Peak signal-to-noise ratio of the decoded image against what the encoder saw, in dB."""
        import numpy as np

        from liquid_mlx.images import load_pixels

        side = self.liquid.config.vqgan.resolution
        seen = load_pixels(picture, side, fit=self.fit, exif=self.exif)
        decoded = np.asarray(self.liquid.decode(codes))
        error = np.mean((seen.astype(np.float64) - decoded) ** 2)
        return round(float(10 * np.log10(255**2 / max(error, 1e-10))), 2)


def _encode(
    encoder: _Encoder,
    tasks: Sequence[tuple[Source, Path]],
    status: Status,
    as_json: bool,
    overwrite: bool,
    team: Team,
) -> int:
    """Write a file of codes per image; the number of failures."""

    def work(
        share: Sequence[tuple[int, tuple[Source, Path]]],
    ) -> Iterator[tuple[int, dict[str, Any] | None]]:
        for done, (i, (source, path)) in enumerate(share):
            status.progress(source.name, done, len(share), "images")
            try:
                codes, psnr = encoder.encode(source.read())
            except LiquidError as error:
                if len(tasks) == 1:
                    raise
                status.warn(about(source.name, error))
                yield i, None
                continue
            atomic_write(path, code_file(codes, path.suffix), overwrite)
            status.clear()
            row: dict[str, Any] = {"path": str(path), "shape": list(codes.shape)}
            yield i, row if psnr is None else {**row, "psnr": psnr}

    failed = 0
    for row in team.each(tasks, work):
        if row is None:
            failed += 1
        elif as_json:
            print(to_json(row), flush=True)
        else:
            print(row["path"] + (f"\t{row['psnr']:.2f}" if "psnr" in row else ""), flush=True)
    return failed


def decode(
    codes: Annotated[
        Path,
        typer.Argument(metavar="CODES", help="A .npy, .json or .jsonl file.", show_default=False),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="NAME", help="The PNG; of several: NAME-1.png, ..."),
    ] = None,
    overwrite: options.Overwrite = False,
    model: options.Model = "demo",
    quiet: options.Quiet = False,
) -> None:
    """Turn VQ codes back into images."""
    from liquid_mlx.images import save_png

    grids = read_codes(codes)
    target = user_path(output or codes.with_suffix(".png").name)
    if target.suffix.lower() != ".png":
        raise FileError(f"{target}: images are written as PNG; give a name that ends in .png.")
    many = [target.with_name(f"{target.stem}-{i + 1}.png") for i in range(len(grids))]
    paths = [target] if len(grids) == 1 else many
    check_free(paths, overwrite)
    with Status(quiet) as status:
        liquid = options.load_model(model, status)
        for i, (grid, path) in enumerate(zip(grids, paths, strict=True)):
            status.progress(str(codes), i, len(grids), "images")
            picture = liquid.decode(grid)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_png(picture, path, overwrite=overwrite)
            status.clear()
            print(path, flush=True)


def _code_paths(output: str | None, names: list[str]) -> list[Path]:
    """A file for each image: the one that ``output`` names, or NAME.npy in a folder."""
    suffix = Path(output or "").suffix
    if output is not None and suffix in (".npy", ".json"):
        if len(names) > 1:
            raise FileError(f"{output} is one file for {len(names)} images: name a folder.")
        return [user_path(output)]
    if suffix and not Path(output or "").is_dir():
        raise FileError(f"{output}: codes are written as .npy, .json or .jsonl.")
    folder = user_path(output or ".")
    stems = [slug(name) if is_web(name) or name == "-" else Path(name).stem for name in names]
    if len(set(stems)) < len(stems):
        stems = [f"{stem}-{i}" for i, stem in enumerate(stems, 1)]
    return [folder / f"{stem}.npy" for stem in stems]


def code_file(codes: np.ndarray, suffix: str) -> bytes:
    """The content of a .npy or a .json file."""
    import numpy as np

    if suffix == ".json":
        return (json.dumps(codes.tolist()) + "\n").encode()
    file = io.BytesIO()
    np.save(file, codes)
    return file.getvalue()


def read_codes(path: Path) -> list[np.ndarray]:
    """The grids of codes in a .npy, .json or .jsonl file.

    Raises:
        FileError: it cannot be read, or holds something else.
    """
    import numpy as np

    path = user_path(path)
    data = read_bytes(path, MOST_BYTES)
    try:
        if path.suffix == ".npy":
            found = [np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)]
        elif path.suffix == ".jsonl":
            lines = data.decode().split("\n")
            found = [_grid(json.loads(line)) for line in lines if line.strip()]
        else:
            found = [np.array(json.loads(data.decode()))]
    except Exception:  # a damaged header can make NumPy raise anything
        raise FileError(f"{path} does not hold codes (.npy, .json, or .jsonl).") from None
    if not found:
        raise FileError(f"{path} is empty.")
    return found


def _grid(line: Any) -> np.ndarray:
    """The codes of a line of training data: a flat list, of a square."""
    import numpy as np

    if not isinstance(line, dict):
        raise TypeError
    (text,) = (line[key] for key in line if key.startswith("vqcode_") and line[key] != "no")
    codes = np.array(json.loads(text))
    side = math.isqrt(codes.size)
    return codes.reshape(side, side)
