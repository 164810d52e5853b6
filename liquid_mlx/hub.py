"""A model's name -> a folder: the bundled demo, a local path, or a Hugging Face repo."""

from __future__ import annotations

import re
from pathlib import Path

from liquid_mlx.display import brief
from liquid_mlx.errors import HubError
from liquid_mlx.files import user_path

DEMO = "demo"
FILES = ["*.json", "model*.safetensors", "vqgan.safetensors", "README.md"]
_REVISION = re.compile(r"[\w./+-]{1,200}")
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(model: str | Path, revision: str | None = None) -> Path:
    """The folder of a model named by ``demo``, a path, or a repo id such as ``owner/name``.

    A repo is downloaded into the Hugging Face cache (``HF_HOME``), or only looked up there when
    ``HF_HUB_OFFLINE`` is set.

    Raises:
        HubError: there is no such folder or repo, or it cannot be reached; says what to do.
    """
    if not isinstance(model, str | Path):
        raise HubError(f"{brief(model)} is not the name of a model.")
    name = str(model)
    folder = user_path(name)
    if name == DEMO and not folder.is_dir():
        return Path(__file__).parent / "demo"
    if folder.is_dir():
        return folder
    if not is_repo_id(name):
        raise HubError(
            f"There is no model folder {name!r}. Give a converted folder, a Hugging Face repo id "
            f"(owner/name), or {DEMO!r} for the bundled model."
        )
    return download(name, FILES, revision)


def is_repo_id(name: str) -> bool:
    """Whether it reads like ``owner/name``."""
    return _REPO_ID.fullmatch(name) is not None and not name.startswith(".")


def download(
    repo_id: str, patterns: list[str], revision: str | None = None, repo_type: str = "model"
) -> Path:
    """The local folder of a repo's files that match ``patterns``; resumes what was cut short."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if revision is not None and not (isinstance(revision, str) and _REVISION.fullmatch(revision)):
        raise HubError(f"{brief(revision)} is no revision: give a branch, tag or commit.")
    try:
        return Path(
            snapshot_download(
                repo_id, repo_type=repo_type, revision=revision, allow_patterns=patterns
            )
        )
    except GatedRepoError:
        raise HubError(
            f"{repo_id} asks you to accept its terms: do so on its page at huggingface.co, then "
            "run `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise HubError(f"{repo_id} has no revision {revision!r}.") from None
    except RepositoryNotFoundError:
        raise HubError(
            f"{repo_id} is neither a folder here nor a repo on the Hugging Face Hub "
            "(if it is private, run `hf auth login`)."
        ) from None
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} is not a repo id ({error}).") from None
    except LocalEntryNotFoundError:
        raise HubError(
            f"{repo_id} is not on this machine and the Hugging Face Hub cannot be reached: check "
            "the network, or unset HF_HUB_OFFLINE."
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise HubError(f"{repo_id} could not be downloaded ({error}); try again.") from None
