"""``luigi.cfg`` and the command line, turned into ``roar_pipeline.config.Settings``.

Each section is also a ``luigi.Config``, so that any key can be given for one run: ``--retrain-lr 0.02`` is
``[retrain] lr = 0.02``.
"""

import configparser
import dataclasses
import functools
import os
import sys
from pathlib import Path
from typing import Any

import luigi
import luigi.interface
from luigi.configuration import get_config
from luigi.task_register import Register

from roar_pipeline import config, settings_parser
from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened
from tasks.configuration import luigi_sections
from tasks.startup.before_luigi import BAD_INPUT

__all__ = [
    "BAD_INPUT",
    "SCHEDULER_PORT",
    "configured_value",
    "data_folder",
    "folder",
    "overrides",
    "scheduler_options",
    "settings",
    "task_classes",
]

SCHEDULER_PORT = 8082
"""luigid's default port."""


def _as_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _luigi_section(name: str, section: type) -> type[luigi.Config]:
    """Return a section as Luigi's config class: a text parameter per field, with its default and description."""
    parameters = {
        # argparse, which prints the help, formats it with %.
        f.name: luigi.Parameter(default=_as_text(f.default), description=f.metadata["text"].replace("%", "%%"))
        for f in dataclasses.fields(section)
    }
    own = {"__doc__": section.__doc__, "__module__": __name__}
    return type(name, (luigi.Config,), {**own, **parameters})


_SECTIONS = {f.name: _luigi_section(f.name, f.type) for f in dataclasses.fields(config.Settings)}  # type: ignore[arg-type]


@functools.cache
def settings() -> config.Settings:
    """Return the settings of this run.

    Raises:
        InputError: names every unknown section, unknown key and bad value at once.
    """
    try:
        texts = {
            name: {p: getattr(section(), p) for p, _ in section.get_params()} for name, section in _SECTIONS.items()
        }
    except ValueError as error:
        if isinstance(cause := error.__cause__, configparser.InterpolationError):
            raise InputError(f"Mistakes in the settings:\n  - {cause}. Write %% for a percent sign.") from None
        raise
    other_mistakes = _other_mistakes()
    try:
        parsed = settings_parser.parse(texts)
    except InputError as error:
        raise InputError("\n".join([str(error), *other_mistakes])) from None
    if other_mistakes:
        raise InputError("Mistakes in the settings:\n" + "\n".join(other_mistakes))
    return parsed


@functools.cache
def data_folder() -> Path:
    """Return the absolute folder of the cache, links resolved.

    Raises:
        InputError: its parent does not exist, it is a link whose target does not exist, or it is a file.
    """
    text = settings().paths.data
    path = folder("[paths] data", text)
    if Path(text).expanduser().is_symlink() and not path.exists():
        raise InputError(f"[paths] data = {text} is a link to {path}, which is not there. Is its disk mounted?")
    if not path.parent.is_dir():
        raise InputError(f"[paths] data = {text}: there is no folder {path.parent}. Make it, or mount its disk.")
    if path.exists() and not path.is_dir():
        raise InputError(f"[paths] data = {text} is a file. Name a folder.")
    return path


def folder(key: str, text: str) -> Path:
    """Return the absolute path that a setting names, links resolved; ``key`` names the setting in messages.

    Raises:
        InputError: the path is impossible: an unknown user's home, links in a circle, a name that is too long.
    """
    try:
        path = Path(text).expanduser().resolve()
        str(path).encode()
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return path
    except UnicodeEncodeError:
        raise InputError(
            f"{key} = {text!a} lies in {str(path)!a}, a name that Python cannot read in this locale "
            f"({sys.getfilesystemencoding()}). Set PYTHONUTF8=1, or a locale with UTF-8; or name another folder."
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error).rstrip(".")
        raise InputError(f"{key} = {shortened(text)!r} is no path: {reason}. Name a folder.") from None
    return path


def overrides() -> list[str]:
    """Return the command-line options by which this run's settings differ from the configuration files."""
    options = []
    for name, section in _SECTIONS.items():
        own = section()
        for key, parameter in section.get_params():
            if getattr(own, key) != configured_value(name, key, parameter):
                options.append(f"--{name}-{key.replace('_', '-')}={getattr(own, key)}")
    return options


def configured_value(section: str, key: str, parameter: luigi.Parameter) -> Any:
    """Return a parameter's value without the command line: from the configuration files, else its default."""
    if get_config().has_option(section, key):
        return parameter.normalize(parameter.parse(get_config().get(section, key)))
    return parameter._default


def scheduler_options() -> list[str]:
    """Return the options that connect another command to this run's scheduler."""
    core = luigi.interface.core()
    if core.local_scheduler:
        return ["--local-scheduler"]
    if core.scheduler_url:
        return [f"--scheduler-url={core.scheduler_url}"]
    options = {"scheduler-host": core.scheduler_host, "scheduler-port": core.scheduler_port}
    defaults = {"scheduler-host": "localhost", "scheduler-port": SCHEDULER_PORT}
    return [f"--{name}={value}" for name, value in options.items() if value != defaults[name]]


def _other_mistakes() -> list[str]:
    """Return the mistakes outside our sections: unknown keys, and values that Luigi cannot read."""
    families = {name: dict(cls.get_params()) for name, cls in task_classes().items()}
    sections = {name: dict(section.get_params()) for name, section in _SECTIONS.items()}
    mistakes = []
    overlay = os.environ.get("LUIGI_CONFIG_PATH")
    if overlay and not Path(overlay).is_file():
        mistakes.append(f"LUIGI_CONFIG_PATH names {overlay}, and there is no such file.")
    mistakes += luigi_sections.unknown_keys({**sections, **families})
    mistakes += luigi_sections.wrong_values(families)
    return [f"  - {mistake}" for mistake in mistakes]


def task_classes() -> dict[str, Any]:
    """Return the task classes that a command can name, by task family."""
    registered = {name: Register.get_task_cls(name) for name in Register.task_names()}
    return {name: cls for name, cls in registered.items() if _is_ours(cls)}


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("tasks.") and hasattr(cls, "stage")
