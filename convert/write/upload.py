"""Put a converted folder on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from liquid_mlx.errors import HubError
from liquid_mlx.hub import is_repo_id


def check_upload(repo_id: str) -> None:
    """Find out before hours of work whether an upload can succeed.

    Raises:
        HubError: that is no repo id, or nobody is logged in.
    """
    from huggingface_hub import constants, get_token

    if not is_repo_id(repo_id):
        raise HubError(f"{repo_id!r} is not a repo id: it reads like owner/name.")
    if constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set: unset it to upload.")
    if not get_token():
        raise HubError("To upload, log in first: `hf auth login` (or set HF_TOKEN).")


def upload(folder: Path, repo_id: str) -> str:
    """Make the repo if it is not there, commit the folder's files to it, return its address.

    Raises:
        HubError: the Hub cannot be reached or refuses; the folder stays.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        url = api.create_repo(repo_id, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message="Upload a converted Liquid model"
        )
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise HubError(
            f"{folder} is converted, but could not be uploaded to {repo_id} ({reason}): try "
            f"`hf upload {repo_id} {folder}`."
        ) from None
    return str(url)
