"""The loggers of a run: bad input is logged as its message alone, progress as plain lines."""

import logging

from luigi.parameter import ParameterException

from roar_pipeline.errors import InputError
from tasks.runtime import refusals
from tasks.runtime.execution import TaskFailedError

__all__ = ["install"]


_UNCAUGHT = "Uncaught exception in luigi"
"""Luigi's log message when it fails before any task runs."""


class _WithoutTraceback(logging.Filter):
    """Reduce a logged error that the user can mend to its message, and drop task failures, which are logged already."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, TaskFailedError):
            return False
        if record.exc_info and record.msg == _UNCAUGHT and error is not None:
            error = refusals.refusal(error) or error
        if isinstance(error, (InputError, ParameterException)) or is_unfulfilled(error):
            task = record.args[-1] if isinstance(record.args, tuple) and record.args else None
            text = str(error) if task is None else f"{task}: {error}"
            record.msg, record.args, record.exc_info = text, None, None
        return True


def is_unfulfilled(error: BaseException | None) -> bool:
    """Return whether the error is Luigi's for a requirement that is gone since the last check."""
    return type(error) is RuntimeError and str(error).startswith("Unfulfilled dependenc")


def install() -> None:
    """Filter our errors in Luigi's logger, and set up the logger ``roar`` for progress lines."""
    luigi_logger = logging.getLogger("luigi-interface")
    if not any(isinstance(f, _WithoutTraceback) for f in luigi_logger.filters):
        refusals.install()
        luigi_logger.addFilter(_WithoutTraceback())
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        handler.setLevel(logging.INFO)
        ours = logging.getLogger("roar")
        ours.addHandler(handler)
        ours.setLevel(logging.DEBUG)
        ours.propagate = False
