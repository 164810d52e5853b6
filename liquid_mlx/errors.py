"""The errors that a user can cause. Each message says what was wrong and what to do about it."""


class LiquidError(Exception):
    """Base of every error that bad input can cause; the CLI prints it without a traceback."""


class CheckpointError(LiquidError):
    """A checkpoint or converted folder is missing something, damaged, or of an unknown kind."""


class ImageError(LiquidError):
    """A picture cannot be read, or is not one that the model can take."""


class PromptError(LiquidError):
    """A prompt is empty, or too long for the model's context."""


class SettingsError(LiquidError):
    """A generation setting is outside its range, or unknown to the model."""


class HubError(LiquidError):
    """A model cannot be found on this machine or on the Hugging Face Hub."""


class LowMemoryError(LiquidError):
    """What is asked for does not fit this machine's memory."""
