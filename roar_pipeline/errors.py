"""The error that is the user's to mend."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input or settings. The message says what, where, what was found and what to do.

    The command line prints the message alone, without a traceback.
    """
