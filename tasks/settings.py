"""``luigi.cfg`` and the command line, turned into ``roar_pipeline.config.Settings``.

Each section is also a ``luigi.Config``, so that any key can be given for one run: ``--retrain-lr 0.02`` is
``[retrain] lr = 0.02``.
"""

import dataclasses
import functools
from typing import Any

import luigi
from luigi.configuration import get_config
from luigi.task_register import Register

from roar_pipeline import config
from roar_pipeline.errors import InputError

__all__ = ["settings"]

_LUIGI_SECTIONS = {
    "DEFAULT",
    "batch_notifier",
    "core",
    "email",
    "execution_summary",
    "logging",
    "resources",
    "retcode",
    "scheduler",
    "sendgrid",
    "smtp",
    "task_history",
    "worker",
}


def _as_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _luigi_section(name: str, section: type) -> type[luigi.Config]:
    """Declare a section to Luigi: every key a text parameter with the dataclass's default and description."""
    parameters = {
        f.name: luigi.Parameter(default=_as_text(f.default), description=f.metadata["text"])
        for f in dataclasses.fields(section)
    }
    return type(name, (luigi.Config,), {"__doc__": section.__doc__, "__module__": __name__, **parameters})


_SECTIONS = {f.name: _luigi_section(f.name, f.type) for f in dataclasses.fields(config.Settings)}  # type: ignore[arg-type]


@functools.cache
def settings() -> config.Settings:
    """Return the settings of this run.

    Raises:
        InputError: names every unknown section, unknown key and bad value at once.
    """
    texts = {name: {p: getattr(section(), p) for p, _ in section.get_params()} for name, section in _SECTIONS.items()}
    unknown = _unknown_keys()
    try:
        parsed = config.parse(texts)
    except InputError as error:
        raise InputError("\n".join([str(error), *unknown])) from None
    if unknown:
        raise InputError("Mistakes in the settings:\n" + "\n".join(unknown))
    return parsed


def _unknown_keys() -> list[str]:
    """Find what the configuration files hold and nobody reads; Luigi itself says nothing, or only warns."""
    families = {name: [p for p, _ in cls.get_params()] for name, cls in _families().items()}
    known = {name: [p for p, _ in section.get_params()] for name, section in _SECTIONS.items()} | families
    mistakes = []
    parser = get_config()
    for section in parser.sections():
        if section in _LUIGI_SECTIONS:
            continue
        if section not in known:
            mistakes.append(f"  - unknown section [{section}]. Known: {', '.join(known)}.")
            continue
        keys = (key.replace("-", "_") for key in parser.options(section))
        mistakes += [
            f"  - [{section}] has no key '{key}'. Known: {', '.join(known[section])}."
            for key in keys
            if key not in known[section]
        ]
    return mistakes


def _families() -> dict[str, Any]:
    return {name: cls for name, cls in ((n, Register.get_task_cls(n)) for n in Register.task_names()) if _is_ours(cls)}


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("tasks.") and not issubclass(cls, luigi.Config)
