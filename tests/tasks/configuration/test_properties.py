"""Any text in the settings or on a command line gives an answer, or one message and exit code 40; no traceback."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.in_process import ACCEPTED, luigi_module_tasks, python_m_tasks

from roar_pipeline import config
from roar_pipeline.errors import InputError
from roar_pipeline.settings_parser import parse

KEYS = {
    section.name: [key.name for key in dataclasses.fields(section.type)]  # type: ignore[arg-type]
    for section in dataclasses.fields(config.Settings)
}
CHARACTERS = st.characters(exclude_categories=["Cs"])
NASTY = st.sampled_from(
    ["none", "²", "0", "-1", "1e400", "nan", "inf", "sswa/²", "os:system", "~nosuchuser", "a,,b", "%", "\0"]
)
WORDS = st.one_of(NASTY, st.text(CHARACTERS, max_size=12), st.integers().map(str), st.floats().map(str), NASTY)
KEYS_OF_SECTIONS = st.sampled_from(sorted(KEYS)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(KEYS[name]))
)
OPTIONS = {
    "Retrain": ("model", "method", "percent", "direction", "seed", "model-seed", "longer"),
    "DistillStudent": ("loss", "reduction", "seed"),
    "DumpMaps": ("model", "method", "seed"),
    "Report": ("models", "methods", "shuffled", "percents", "seeds", "probe-percents"),
}
COMMANDS = st.sampled_from(sorted(OPTIONS)).flatmap(
    lambda family: st.tuples(st.just(family), st.sampled_from(OPTIONS[family]), WORDS)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for commands that compute nothing."""
    yield tmp_path_factory.mktemp("properties")


@settings(max_examples=3000, deadline=None, derandomize=True)
@given(st.dictionaries(KEYS_OF_SECTIONS, WORDS, min_size=1, max_size=4))
def test_any_text_in_the_settings_is_read_or_refused(texts: dict[tuple[str, str], str]) -> None:
    sections: dict[str, dict[str, str]] = {}
    for (section, key), text in texts.items():
        sections.setdefault(section, {})[key] = text
    try:
        parsed = parse(sections)
    except InputError as error:
        assert str(error).startswith("Mistakes in the settings:\n")
        assert len(str(error)) < 4000
    else:
        assert isinstance(parsed, config.Settings)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=COMMANDS)
def test_any_value_of_an_option_is_accepted_or_refused(folder: Path, command: tuple[str, str, str]) -> None:
    family, option, word = command
    answer = luigi_module_tasks(
        folder, family, f"--{option}={word}", files={"luigi.cfg": "[core]\nlog_level = ERROR\n"}
    )
    assert answer.code in (0, ACCEPTED, 40), answer.output
    assert "Traceback" not in answer.output


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(setting=KEYS_OF_SECTIONS, word=WORDS)
def test_any_setting_of_a_command_is_accepted_or_refused(folder: Path, setting: tuple[str, str], word: str) -> None:
    section, key = setting
    option = f"--{section}-{key.replace('_', '-')}={word}"
    answer = python_m_tasks(folder, "status", option, files={"luigi.cfg": "[core]\nlog_level = ERROR\n"})
    assert answer.code in (0, 40), answer.output
    assert "Traceback" not in answer.output
