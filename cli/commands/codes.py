"""``liquid encode`` and ``liquid decode``: pictures to codes of the image tokenizer, and back."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import options

if TYPE_CHECKING:
    import numpy as np

    from liquid_mlx.model import Liquid

    from ..terminal import Status

MOST_BYTES = 2**30  # of a file of codes


def encode(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PICTURE",
            help="Files, folders, globs, http(s) addresses, or - (stdin).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="NAME", help=".npy, .json or .jsonl, or a folder."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL of image_path and text, instead of pictures."),
    ] = None,
    fit: Annotated[
        str | None, typer.Option(metavar="HOW", help="pad to a square, or crop its centre.")
    ] = None,
    psnr: Annotated[
        bool, typer.Option("--psnr", help="Decode as well, and tell how close it comes, in dB.")
    ] = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per file.")] = False,
    model: options.Model = "demo",
    no_exif: options.NoExif = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn pictures into codes. A .jsonl is training data in the form of Liquid's own scripts."""
    training = output is not None and output.endswith(".jsonl")
    if pairs is not None and (pictures or not training):
        raise typer.BadParameter("--pairs goes with -o NAME.jsonl, and with no other picture.")
    if not pairs and not pictures:
        raise typer.BadParameter("name a picture.")
    if fit not in (None, "pad", "crop") or (training and fit == "pad"):
        raise typer.BadParameter("--fit is pad or crop; training data is always cropped.")
    if training and psnr:
        raise typer.BadParameter("--psnr does not go with training data.")

    from liquid_mlx import load
    from liquid_mlx.errors import LiquidError
    from liquid_mlx.files import atomic_write

    from .. import training_data
    from ..inputs import expand
    from ..outputs import check_free
    from ..terminal import Status, about

    failed = 0
    with Status(quiet) as status:
        if training:
            assert output is not None
            path = Path(output).expanduser()
            check_free([path], overwrite)
            found = training_data.pairs(pairs) if pairs else training_data.captioned(pictures or [])
            liquid = _load(load, model, status)
            failed = training_data.write(liquid, found, path, status)
            print(path)
        else:
            sources = expand(pictures or [])
            paths = _code_paths(output, [source.name for source in sources])
            check_free(paths, overwrite)
            liquid = _load(load, model, status)
            for i, (source, path) in enumerate(zip(sources, paths, strict=True)):
                status.progress(source.name, i + 1, len(sources), "pictures")
                try:
                    picture = source.read()
                    codes = liquid.encode(picture, fit=fit or "pad", exif=not no_exif)
                    row: dict[str, Any] = {"path": str(path), "shape": list(codes.shape)}
                    if psnr:
                        row["psnr"] = _psnr(liquid, picture, codes, fit or "pad", not no_exif)
                except LiquidError as error:
                    if len(sources) == 1:
                        raise
                    failed += 1
                    status.warn(about(source.name, error))
                    continue
                atomic_write(path, code_file(codes, path.suffix))
                status.clear()
                text = f"{path}\t{row['psnr']:.2f}" if psnr else str(path)
                print(json.dumps(row, ensure_ascii=False) if as_json else text, flush=True)
    if failed:
        raise typer.Exit(3)


def decode(
    codes: Annotated[
        Path,
        typer.Argument(metavar="CODES", help="A .npy, .json or .jsonl file.", show_default=False),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="NAME", help="The PNG; many lines: NAME-1.png, ..."),
    ] = None,
    overwrite: options.Overwrite = False,
    model: options.Model = "demo",
    quiet: options.Quiet = False,
) -> None:
    """Turn codes back into pictures."""
    from liquid_mlx import load
    from liquid_mlx.errors import ImageError
    from liquid_mlx.images import save_png

    from ..outputs import check_free
    from ..terminal import Status

    grids = read_codes(codes)
    target = Path(output or codes.with_suffix(".png").name).expanduser()
    if target.suffix.lower() != ".png":
        raise ImageError(f"{target}: pictures are written as PNG; give a name that ends in .png.")
    many = [target.with_name(f"{target.stem}-{i + 1}.png") for i in range(len(grids))]
    paths = [target] if len(grids) == 1 else many
    check_free(paths, overwrite)
    with Status(quiet) as status:
        liquid = _load(load, model, status)
        for i, (grid, path) in enumerate(zip(grids, paths, strict=True)):
            status.progress(str(codes), i + 1, len(grids), "pictures")
            picture = liquid.decode(grid)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_png(picture, path, None)
            status.clear()
            print(path, flush=True)


def _load(load: Any, model: str, status: Status) -> Liquid:
    status.show(f"loading {model}")
    liquid: Liquid = load(model)
    status.start()
    return liquid


def _code_paths(output: str | None, names: list[str]) -> list[Path]:
    """A file for each picture: the one that ``output`` names, or NAME.npy in a folder."""
    from liquid_mlx.errors import ImageError

    from ..inputs import is_web
    from ..outputs import slug

    suffix = Path(output or "").suffix
    if output is not None and suffix in (".npy", ".json"):
        if len(names) > 1:
            raise ImageError(f"{output} is one file for {len(names)} pictures: name a folder.")
        return [Path(output).expanduser()]
    if suffix and not Path(output or "").is_dir():
        raise ImageError(f"{output}: codes are written as .npy, .json or .jsonl.")
    folder = Path(output or ".").expanduser()
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
        ImageError: it cannot be read, or holds something else.
    """
    import numpy as np

    from liquid_mlx.errors import ImageError

    path = path.expanduser()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ImageError(f"{path} is larger than {MOST_BYTES >> 20} MiB.")
        if path.suffix == ".npy":
            found = [np.load(path, allow_pickle=False)]
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            found = [_grid(json.loads(line)) for line in lines if line.strip()]
        else:
            found = [np.array(json.loads(path.read_text(encoding="utf-8")))]
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror or error}).") from None
    except (ValueError, KeyError, TypeError, EOFError, OverflowError, RecursionError):
        raise ImageError(f"{path} does not hold codes (.npy, .json, or .jsonl).") from None
    if not found:
        raise ImageError(f"{path} is empty.")
    return found


def _grid(line: dict[str, Any]) -> np.ndarray:
    """The codes of a line of training data: a flat list, of a square unless sizes are given."""
    import numpy as np

    (text,) = (line[key] for key in line if key.startswith("vqcode_") and line[key] != "no")
    codes = np.array(json.loads(text))
    side = math.isqrt(codes.size)
    return codes.reshape(side, side)


def _psnr(liquid: Liquid, picture: Any, codes: np.ndarray, fit: str, exif: bool) -> float:
    """Peak signal-to-noise ratio of the decoded picture against what the encoder saw, in dB."""
    import numpy as np

    from liquid_mlx.images import load_pixels

    seen = load_pixels(picture, liquid.config.vqgan.resolution, fit=fit, exif=exif)
    made = np.asarray(liquid.decode(codes))
    error = np.mean((seen.astype(np.float64) - made) ** 2)
    return round(float(10 * np.log10(255**2 / max(error, 1e-10))), 2)
