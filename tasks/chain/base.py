"""The base class of all tasks of the chain: identity, directory, the manifest as the only target, execution.

A task declares its stage function, the sections of the settings that it reads, and its requirements. Its fingerprint
follows from stage, version, parameters, settings, and the fingerprints of its inputs.
"""

import functools
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import luigi

from roar_pipeline.cache.building import ResultSpec
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.cache.inventory import RUNS
from roar_pipeline.cache.manifests import MANIFEST, is_done
from roar_pipeline.errors import InputError
from roar_pipeline.plain_settings import plain
from tasks.configuration.settings import configured_value, data_folder, overrides, scheduler_options, settings
from tasks.runtime import execution
from tasks.runtime.resources import Demand, stage_resources, streaming_demand

__all__ = ["ManifestTarget", "StageTask"]


class ManifestTarget(luigi.Target):
    """The manifest of a result: exists if the result is complete and has the task's fingerprint."""

    def __init__(self, directory: Path, fingerprint: str, *, full: bool) -> None:
        self.path = str(directory / MANIFEST)
        self._directory, self._fingerprint, self._full = directory, fingerprint, full

    def exists(self) -> bool:
        """Return whether the result is done; one that cannot be read is not, and the stage then reports the error."""
        try:
            return is_done(self._directory, self._fingerprint, full=self._full)
        except OSError:
            return False

    def __str__(self) -> str:
        return self.path


class StageTask(luigi.Task):
    """A stage of the chain as a Luigi task."""

    stage: ClassVar[str]
    """Name of the function in ``roar_pipeline.stages``."""
    version: ClassVar[int] = 1
    """Raised by hand when the stage's results change for the same identity."""
    is_light: ClassVar[bool] = False
    """Whether the stage needs none of the libraries that take seconds to import (torch, scikit-learn)."""
    is_end_product: ClassVar[bool] = False
    """Whether no stage reads the result: then every check whether it is done compares its contents."""
    tries_left = 0
    """Retries that remain after a transient error; the worker sets them."""
    sections: ClassVar[tuple[str, ...]] = ()
    """Sections of the settings that are part of the identity."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.directory  # noqa: B018, raises InputError before anything is scheduled

    @property
    def resources(self) -> dict[str, int]:
        """The resources that the scheduler reserves."""
        return stage_resources(self.demand())

    def demand(self) -> Demand:
        """Return the memory and GPU that the stage needs."""
        return streaming_demand()

    def single_tasks(self) -> list[Any]:
        """Return the tasks of this batch, one per result; a single task returns itself."""
        return [self]

    def label_parameters(self) -> Mapping[str, Any]:
        """Return the parameters that are part of the identity, in the order in which the label shows them."""
        return {}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the settings that are part of the identity."""
        return {name: plain(getattr(settings(), name)) for name in self.sections}

    def arguments(self) -> Mapping[str, Any]:
        """Return the stage function's keyword arguments."""
        raise NotImplementedError

    @classmethod
    @functools.cache
    def get_params(cls) -> list[tuple[str, luigi.Parameter]]:
        """Return the names and parameters of this class, looked up once: Luigi does so three times per task."""
        return list(super().get_params())

    def deps(self) -> list[Any]:
        """Return the tasks that this one requires, looked up once."""
        return list(self._deps)

    @functools.cached_property
    def _deps(self) -> list[Any]:
        return list(super().deps())

    @functools.cached_property
    def identity(self) -> Mapping[str, Any]:
        """The identity of the result, as plain data."""
        return {
            "stage": self.task_family,
            "version": self.version,
            "parameters": dict(self.label_parameters()),
            "settings": self.identity_settings(),
            "inputs": sorted({task.fingerprint for task in self.deps()}),
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """The identity's sha256."""
        return fingerprint(self.identity)

    @functools.cached_property
    def directory(self) -> Path:
        """The result's folder: ``runs/<family>/<label>__<12 digits of the fingerprint>`` in the data folder."""
        label = ",".join(f"{key}={value}" for key, value in self.label_parameters().items())
        safe = re.sub(r"[^\w=,.+-]", "-", label)
        name = f"{safe}__{self.fingerprint[:12]}" if safe else self.fingerprint[:12]
        family: str = self.task_family
        return data_folder() / f"{RUNS}/{family}/{name}"

    @property
    def title(self) -> str:
        """The name for people: the family and the label's parameters."""
        return " ".join([self.task_family, *(f"{key}={value}" for key, value in self.label_parameters().items())])

    def spec(self) -> ResultSpec:
        """Return the result to make, with its inputs."""
        inputs = {task.directory: task.fingerprint for task in self.deps()}
        return ResultSpec(
            self.directory,
            self.identity,
            tuple(inputs.items()),
            title=self.title,
            command=self.command(),
            is_end_product=self.is_end_product,
        )

    def command(self) -> str:
        """Return the shell command that makes this result alone, with the settings of this run."""
        changed = {
            name: parameter.serialize(getattr(self, name))
            for name, parameter in self.get_params()
            if configured_value(self.task_family, name, parameter) != getattr(self, name)
        }
        options = [f"--{name.replace('_', '-')}={text}" for name, text in changed.items()]
        words = ["luigi", "--module", "tasks", self.task_family, *options, *overrides(), *scheduler_options()]
        overlay = os.environ.get("LUIGI_CONFIG_PATH")
        return (f"LUIGI_CONFIG_PATH={shlex.quote(overlay)} " if overlay else "") + shlex.join(words)

    def output(self) -> luigi.Target:
        """Return the manifest."""
        return ManifestTarget(self.directory, self.fingerprint, full=self.is_end_product)

    def run(self) -> None:
        """Make the result, or the results of a batch, in this process."""
        execution.run(self.call(), self.tries_left)

    def call(self) -> execution.StageCall:
        """Return the work of the task's process as plain data, without the task."""
        return execution.StageCall(self.stage, self.spec(), self.arguments(), needs_gpu="gpu" in self.resources)

    def on_failure(self, exception: BaseException) -> str:
        """Explain a failure to the scheduler: by the message alone if the user can mend it."""
        if isinstance(exception, InputError):
            return str(exception)
        explanation: str = super().on_failure(exception)
        return explanation
