"""The errors that a user can cause. Each message says what was wrong and what to do about it.

LiquidError
├── CheckpointError   a checkpoint or converted folder
├── DistributedError  processes on one or several machines that do not work together
├── FileError         any other file or folder
│   └── OutputError   stdout, which the command line cannot write
├── HubError          a model that is not on this machine or the Hub
├── ImageError        a picture that cannot be read
├── LowMemoryError    more than this machine's memory
├── PromptError       an empty or overlong prompt
├── SettingsError     a setting outside its range
└── UsageError        arguments that do not go together
"""

from liquid_mlx.display import sentence


class LiquidError(Exception):
    """Base of every error that bad input can cause; the CLI prints it without a traceback.

    Its message is clean and of sensible length, whatever names and values it repeats. ``shared``
    errors are raised by every rank at once: it is enough if rank 0 says them.
    """

    shared = False

    def __init__(self, message: str):
        super().__init__(sentence(message))


class CheckpointError(LiquidError):
    """A checkpoint or converted folder is missing something, damaged, or of an unknown kind."""


class DistributedError(LiquidError):
    """Processes cannot meet, do not agree, or one of them has failed."""

    def __init__(self, message: str, *, shared: bool = False):
        super().__init__(message)
        self.shared = shared


def lost_peer(error: RuntimeError) -> DistributedError | None:
    """What to say where MLX's error means that another process cannot be reached; else None."""
    if not str(error).startswith(("[ring]", "[jaccl]", "[mpi]", "[nccl]", "[distributed]")):
        return None
    return DistributedError(
        f"Another process has ended or cannot be reached ({error}): its own message, or that of "
        "mlx.launch, says why. What was written is whole."
    )


class FileError(LiquidError):
    """A file or folder of the user is missing, damaged, cannot be written, or exists already."""


class OutputError(FileError):
    """Stdout cannot be written: what would follow is lost, too."""


class HubError(LiquidError):
    """A model cannot be found on this machine or on the Hugging Face Hub."""


class ImageError(LiquidError):
    """A picture cannot be read, or is not one that the model can take."""


class LowMemoryError(LiquidError):
    """What is asked for does not fit this machine's memory."""


class PromptError(LiquidError):
    """A prompt is empty, or too long for the model's context."""


class SettingsError(LiquidError):
    """A generation setting is outside its range, or unknown to the model."""


class UsageError(LiquidError):
    """Arguments cannot be combined, or one is missing."""

    shared = True
