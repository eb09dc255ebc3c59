"""Checks of Luigi's own sections: Luigi ignores a misspelled key, and raises on a value of the wrong type."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import luigi
import luigi.batch_notifier
import luigi.execution_summary
import luigi.interface
import luigi.notifications
import luigi.retcodes
import luigi.scheduler
import luigi.worker
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import get_config

from roar_pipeline.numerals import number, shortened, whole_number
from tasks.startup.before_luigi import BAD_INPUT

__all__ = ["DEFAULTS", "install_defaults", "unknown_keys", "wrong_values"]

Parameters = Mapping[str, Mapping[str, luigi.Parameter]]
"""Parameters by section and key."""

_CLASSES: dict[str, Any] = {
    "core": luigi.interface.core,
    "worker": luigi.worker.worker,
    "scheduler": luigi.scheduler.scheduler,
    "retcode": luigi.retcodes.retcode,
    "execution_summary": luigi.execution_summary.execution_summary,
    "email": luigi.notifications.email,
    "smtp": luigi.notifications.smtp,
    "sendgrid": luigi.notifications.sendgrid,
    "batch_email": luigi.batch_notifier.batch_email,
}
"""Luigi's sections, each read through the parameters of a class."""
_PARAMETERS: Parameters = {name: dict(cls.get_params()) for name, cls in _CLASSES.items()}

_OTHER_KEYS = {
    "autoload_range": luigi.BoolParameter(),
    "no_configure_logging": luigi.BoolParameter(),
    "rpc_connect_timeout": luigi.FloatParameter(),
    "rpc_log_retries": luigi.BoolParameter(),
    "rpc_retry_attempts": luigi.IntParameter(),
    "rpc_retry_wait": luigi.IntParameter(),
}
"""Keys of [core] that Luigi reads without the class ``core``."""

_FREE_SECTIONS = {"DEFAULT", "logging", "task_history"}
"""Sections whose keys are not checked."""

_LOWEST_RESOURCES = {"gpu": 0, "memory_mb": 1}
"""The keys of [resources], with their lowest values."""

_BOUNDS: dict[tuple[str, str], tuple[float, float]] = {
    ("core", "workers"): (1, 10**6),
    ("core", "scheduler_port"): (1, 65535),
    ("core", "default_scheduler_port"): (1, 65535),
    ("core", "lock_size"): (1, 10**6),
    ("core", "parallel_scheduling_processes"): (0, 10**6),
    ("core", "rpc_connect_timeout"): (0.001, 10**6),
    ("core", "rpc_retry_attempts"): (1, 10**6),
    ("core", "rpc_retry_wait"): (0, 10**6),
    ("worker", "wait_interval"): (0.001, 10**6),
    ("worker", "wait_jitter"): (0, 10**6),
    ("worker", "ping_interval"): (0.001, 10**6),
    ("worker", "timeout"): (0, 10**9),
    **{("retcode", key): (0, 255) for key in _PARAMETERS["retcode"]},
}
"""The lowest and the highest sensible value; Luigi itself accepts any."""

_READERS: dict[type, Callable[[str], float]] = {luigi.IntParameter: whole_number, luigi.FloatParameter: number}
"""The parser of each type of number."""


DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "core": {
        # Our own progress lines and errors are shown; --log-level INFO shows Luigi's messages, too.
        "log_level": "WARNING",
        # Several runs may share a cache, and every result has its own lock. Luigi's lock depends on the command line
        # alone: it would exclude runs on different folders, and only the first user can write its folder in /tmp.
        "no_lock": "true",
        # Workers wait two minutes for a scheduler that is being restarted.
        "rpc_retry_attempts": "60",
        "rpc_retry_wait": "2",
    },
    "worker": {
        # Stages import torch in processes of their own, never in Luigi's.
        "force_multiprocessing": "true",
        # A task that ran and left no result has failed.
        "check_complete_on_run": "true",
        "wait_interval": "0.2",
        "wait_jitter": "0.1",
        "ping_interval": "5",
    },
    "scheduler": {
        # Tasks of a killed run become available after 20 s, at the next request for work.
        "prune_on_get_work": "true",
        "worker_disconnect_delay": "20",
        "stable_done_cooldown_secs": "0",
        # A failed task stays failed, and visible, until a later run.
        "retry_delay": "-1",
        "remove_delay": "86400",
    },
    "retcode": {
        "already_running": "10",
        "missing_data": "20",
        "not_run": "25",
        "task_failed": "30",
        "scheduling_error": "35",
        "unhandled_exception": str(BAD_INPUT),
    },
}
"""Our defaults of Luigi's settings."""


def install_defaults() -> None:
    """Set ``DEFAULTS`` for keys that no configuration file sets."""
    # Luigi's RPC client reads these keys of [core]; its config class would warn that nobody does.
    luigi.interface.core.ignore_unconsumed |= {"rpc_connect_timeout", "rpc_retry_attempts", "rpc_retry_wait"}
    for section, keys in DEFAULTS.items():
        for key, value in keys.items():
            if not get_config().has_option(section, key):
                get_config().set(section, key, value)


def unknown_keys(own_sections: Parameters) -> list[str]:
    """Return a mistake for every unknown section and key of the configuration files.

    Args:
        own_sections: the project's sections.
    """
    known_sections = {**own_sections, **_PARAMETERS, "resources": _LOWEST_RESOURCES}
    mistakes = []
    parser = get_config()
    for section in parser.sections():
        if section in _FREE_SECTIONS:
            continue
        if section not in known_sections:
            mistakes.append(f"unknown section [{section}]. Known: {', '.join(known_sections)}.")
            continue
        names = ", ".join(known_sections[section])
        known_keys = {*known_sections[section], *(_other_names(section) if section in _PARAMETERS else ())}
        keys = (key.replace("-", "_") for key in parser.options(section) if key not in parser.defaults())
        mistakes += [f"[{section}] has no key '{key}'. Known: {names}." for key in keys if key not in known_keys]
    return mistakes


def _other_names(section: str) -> set[str]:
    """Return the keys that Luigi reads in a section beside its class's: older names, and ``_OTHER_KEYS``."""
    paths = [p._config_path for parameters in _PARAMETERS.values() for p in parameters.values() if p._config_path]
    names = {path["name"].replace("-", "_") for path in paths if path["section"] == section}
    return names | (_OTHER_KEYS.keys() if section == "core" else set())


def wrong_values(families: Parameters) -> list[str]:
    """Return a mistake for every value, in files or command line, that Luigi cannot read or that makes no sense.

    Args:
        families: parameters of the task families, which a file can set, too.
    """
    core = {**_PARAMETERS["core"], **_OTHER_KEYS, "default_scheduler_port": luigi.IntParameter()}
    mistakes = []
    for section, parameters in {**_PARAMETERS, "core": core, **families}.items():
        for key, parameter in parameters.items():
            if (text := _text(section, key)) is not None and (reason := _value_error(section, key, parameter, text)):
                mistakes.append(f"[{section}] {key} = {shortened(text)}: {reason}.")
    for name in get_config().options("resources") if get_config().has_section("resources") else ():
        text = get_config().get("resources", name)
        if name in _LOWEST_RESOURCES and (reason := _bounds_error(whole_number, text, _LOWEST_RESOURCES[name], 10**12)):
            mistakes.append(f"[resources] {name} = {shortened(text)}: {reason}.")
    return mistakes


def _text(section: str, key: str) -> str | None:
    """Return a key's text: from the command line, else from a file."""
    line = CmdlineParser.get_instance()
    option = getattr(line.known_args, f"{section}_{key}", None) if line else None
    if isinstance(option, str):
        return option
    text: str | None = get_config().get(section, key, None)
    return text


def _value_error(section: str, key: str, parameter: luigi.Parameter, text: str) -> str:
    low, high = _BOUNDS.get((section, key), (float("-inf"), float("inf")))
    if read := _READERS.get(type(parameter)):
        return _bounds_error(read, text, low, high)
    if (section, key) == ("core", "logging_conf_file") and text and not Path(text).is_file():
        return "there is no such file"
    try:
        parameter.normalize(parameter.parse(text))
    except Exception as error:
        return "not true or false" if isinstance(parameter, luigi.BoolParameter) else str(error).rstrip(".")
    return ""


def _bounds_error(read: Callable[[str], float], text: str, low: float, high: float) -> str:
    """Return what is wrong with a number; empty if it lies within the bounds."""
    try:
        value = read(text.strip())
    except ValueError as error:
        return str(error)
    if value < low:
        return f"{value} is below {low}"
    return f"{value} is above {high}" if value > high else ""
