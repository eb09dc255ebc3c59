"""What the terminal shows: bad input as its message alone, one line per finished task."""

import logging

from luigi.parameter import ParameterException

from roar_pipeline.errors import InputError
from tasks.runtime import refusals
from tasks.runtime.execution import TaskFailedError

__all__ = ["install"]


_UNCAUGHT = "Uncaught exception in luigi"
"""What Luigi logs where it gives up before any task runs."""


class _WithoutTraceback(logging.Filter):
    """Reduce a logged error that the user can mend to its message, and leave out what has been logged."""

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
    """Tell whether Luigi found that something which a task needs has gone since it was last looked at."""
    return type(error) is RuntimeError and str(error).startswith("Unfulfilled dependenc")


def install() -> None:
    """Teach Luigi's logger our errors, and give the progress lines a logger of their own."""
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
