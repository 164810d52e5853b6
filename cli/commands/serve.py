"""``liquid serve``: an API for programs and a page for people."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liquid_mlx.errors import UsageError
from liquid_mlx.files import read_bytes, user_path

from .. import options, together
from ..terminal import Status, clean

if TYPE_CHECKING:
    from liquid_mlx.distributed.ranks import Team

KEY_BYTES = 4096
MOST_SECONDS = 1e6  # of a limit


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            envvar="LIQUID_MODEL",
            help=options.MODEL_HELP + " May be given several times; the first is the default.",
            show_default="demo",
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME=FOLDER",
            help="Serve the first model with this adapter as NAME, too.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8080,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            envvar="LIQUID_API_KEY",
            help="What requests must bring as a bearer token.",
            show_default=False,
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="The same, from a file."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name of this server."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin", metavar="ORIGIN", help="A page, such as https://a.b, that may use it."
        ),
    ] = None,
    allow_remote_images: Annotated[
        bool,
        typer.Option("--allow-remote-images", help="Fetch pictures from public web addresses."),
    ] = False,
    keep_alive: Annotated[
        float | None,
        typer.Option(
            "--keep-alive",
            metavar="S",
            min=0,
            max=MOST_SECONDS,
            help="Drop a model that nobody has used for S seconds.",
            show_default="never",
        ),
    ] = None,
    max_queue: Annotated[
        int,
        typer.Option(
            "--max-queue", metavar="N", min=1, max=1 << 20, help="Most requests that wait."
        ),
    ] = 64,
    max_body: Annotated[
        int, typer.Option("--max-body", metavar="MIB", min=1, max=1024, help="Largest request.")
    ] = 32,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="S",
            min=1,
            max=MOST_SECONDS,
            help="Longest time for a request.",
        ),
    ] = 600,
    grace: Annotated[
        float,
        typer.Option(
            "--grace",
            metavar="S",
            min=1,
            max=MOST_SECONDS,
            help="Time for running requests when it is stopped.",
        ),
    ] = 30,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write prompts to the log.")
    ] = False,
    tensor_parallel: options.TensorParallel = False,
    pipeline_parallel: options.PipelineParallel = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
) -> None:
    """Serve models: an API in OpenAI's form, and a page in the browser."""
    try:
        from liquid_mlx.server.app import Limits, Options
        from liquid_mlx.server.guard import Access
        from liquid_mlx.server.models import Models
        from liquid_mlx.server.run import address, bind, hosts_of, is_loopback
        from liquid_mlx.server.run import serve as run
        from liquid_mlx.server.several import SharedModels, follow, lead
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "python_multipart", "multipart"):
            raise
        raise UsageError(
            "The server needs packages of its own: pip install 'liquid-mlx[serve]'."
        ) from None

    key = _key(api_key, api_key_file)
    if not is_loopback(host) and key is None:
        raise UsageError(
            f"--host {host} lets other machines in: protect it with --api-key or --api-key-file."
        )
    access = Access(
        hosts=hosts_of(host, allow_host or []),
        any_host=not is_loopback(host),
        origins=frozenset(origin.rstrip("/").lower() for origin in allow_origin or []),
        key=key,
        most_bytes=max_body << 20,
    )
    limits = Limits(waiting=max_queue, seconds=timeout, grace=grace)
    _log(quiet)
    status = Status(quiet)
    team = together.start(status, tensor_parallel, pipeline_parallel)
    _check(team, alone=keep_alive is None and not adapter and len(model or []) < 2)
    layers = options.layers_of(pipeline_parallel)
    with team.together():
        models = (
            Models(model or [], dtype, keep_alive, adapter or [])
            if team.size == 1
            else SharedModels(model or [], dtype, team, layers)
        )
        listening = bind(host, port) if team.first else None
    if listening is None:
        follow(models, team)
        return
    url = address(host, listening)

    def started() -> None:
        status.say(f"{', '.join(models.names)} at {url} (Ctrl-C ends it)")
        if open_page:
            typer.launch(url)

    chosen = Options(access, limits, allow_remote_images, log_prompts)
    if team.size > 1:
        lead(models, chosen, listening, started, team)
    else:
        run(models, chosen, listening, started)


def _check(team: Team, alone: bool) -> None:
    """Raise UsageError unless several processes hold one model, which is always there."""
    if team.shares_work:
        raise UsageError("Several processes serve one model: add --tensor-parallel.")
    if team.size > 1 and not alone:
        raise UsageError(
            "--tensor-parallel and --pipeline-parallel serve one --model, without --adapter and "
            "--keep-alive."
        )


def _key(given: str | None, file: Path | None) -> str | None:
    """The key that requests must bring."""
    if given is not None and file is not None:
        raise UsageError("--api-key and --api-key-file cannot be combined.")
    if file is not None:
        given = read_bytes(user_path(file), KEY_BYTES).decode(errors="replace")
    if given is None:
        return None
    key = given.strip()
    if not key:
        raise UsageError("The server's key is empty.")
    if not (key.isascii() and key.isprintable()):  # what a header can bring
        raise UsageError("The server's key is made of ASCII's letters, digits and signs.")
    return key


class _Lines(logging.Formatter):
    """One safe line for each record: what clients send cannot drive a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def _log(quiet: bool) -> None:
    """The server's log goes to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("liquid_mlx.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING if quiet or name == "uvicorn.error" else logging.INFO)
