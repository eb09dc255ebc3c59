"""What every task of the chain shares: identity, directory, manifest as the one target, execution.

A task declares its stage function, the sections of the settings that it reads, and what it requires; its fingerprint
follows: stage, version, parameters and settings, and the fingerprints of its inputs.
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
from tasks.configuration.settings import data_folder, filed, overrides, scheduler_options, settings
from tasks.runtime import execution
from tasks.runtime.resources import Demand, stage_resources, streaming_demand

__all__ = ["ManifestTarget", "StageTask"]


class ManifestTarget(luigi.Target):
    """The manifest of a result: exists when the result is whole and is the one that is wanted."""

    def __init__(self, directory: Path, expected: str, *, full: bool) -> None:
        self.path = str(directory / MANIFEST)
        self._directory, self._expected, self._full = directory, expected, full

    def exists(self) -> bool:
        """Tell whether the result is there; what cannot be read is not, and whoever is to make it finds out why."""
        try:
            return is_done(self._directory, self._expected, full=self._full)
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
    """Whether no stage reads the result: then its contents are compared whenever somebody asks whether it is done."""
    tries_left = 0
    """Times that its process would be begun again after a transient error, as the worker sets it."""
    sections: ClassVar[tuple[str, ...]] = ()
    """Sections of the settings that decide what comes out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.directory  # noqa: B018, bad input is found here, before anything is scheduled

    @property
    def resources(self) -> dict[str, int]:
        """What the scheduler is to set aside."""
        return stage_resources(self.demand())

    def demand(self) -> Demand:
        """Return what the stage takes of a machine."""
        return streaming_demand()

    def single_tasks(self) -> list[Any]:
        """Return the tasks of one result each that this one stands for: itself, but for a batch."""
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
        """What the result is, in plain data."""
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
        """Where the result is: ``runs/<family>/<label>__<12 digits of the fingerprint>`` under the data folder."""
        label = ",".join(f"{key}={value}" for key, value in self.label_parameters().items())
        safe = re.sub(r"[^\w=,.+-]", "-", label)
        name = f"{safe}__{self.fingerprint[:12]}" if safe else self.fingerprint[:12]
        family: str = self.task_family
        return data_folder() / f"{RUNS}/{family}/{name}"

    @property
    def title(self) -> str:
        """What people call it: the family, and what the grid sweeps."""
        return " ".join([self.task_family, *(f"{key}={value}" for key, value in self.label_parameters().items())])

    def spec(self) -> ResultSpec:
        """Return the result that is to be made, and from what."""
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
        """Return the shell command that makes this result by itself, with the settings of this run."""
        given = {
            name: parameter.serialize(getattr(self, name))
            for name, parameter in self.get_params()
            if filed(self.task_family, name, parameter) != getattr(self, name)
        }
        options = [f"--{name.replace('_', '-')}={text}" for name, text in given.items()]
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
        """Return what the process does, in plain data: nothing there needs the task."""
        return execution.StageCall(self.stage, self.spec(), self.arguments(), needs_gpu="gpu" in self.resources)

    def on_failure(self, exception: BaseException) -> str:
        """Explain a failure to the scheduler: the message alone where the user can mend it."""
        if isinstance(exception, InputError):
            return str(exception)
        explanation: str = super().on_failure(exception)
        return explanation
