"""Configuration files that cannot be read: file, line, and what to do, before Luigi sees them."""

import re
import sys
from pathlib import Path

import pytest
from support.workplace import Workplace

from roar_pipeline.errors import InputError
from tasks.configuration.settings import BAD_INPUT
from tasks.startup.config_files import check_files

GOOD = b"[teacher]\nlr = 0.01\n"
BROKEN = [
    (b"lr = 0.01\n", 1, "'lr = 0.01' stands in no section. Write [section] above it"),
    (b"# title\n\nhello\n", 3, "'hello' stands in no section"),
    (GOOD + b"lr = 0.02\n", 3, "a second 'lr' in [teacher]. Keep one of the two"),
    (GOOD + GOOD, 3, "a second section [teacher]. Join the two"),
    (b"[teacher\nlr = 0.01\n", 1, "'[teacher' has no closing bracket. Write [section]"),
    (GOOD + b"epochs\n", 3, "'epochs' is neither [section] nor key = value"),
    (GOOD + b"[student\n", 3, "'[student' is neither [section] nor key = value"),
    (b"\xef\xbb\xbf" + GOOD, 1, "the file is UTF-8 with a byte order mark. Save it as UTF-8 without one"),
    (GOOD.decode().encode("utf-16"), 1, "the file is UTF-16 with a byte order mark"),
    (GOOD.decode().encode("utf-16-le"), 1, "no text, or text in UTF-16"),
    ("[paths]\ndata = Ergebnisse für uns\n".encode("latin-1"), 2, "byte 0xfc is not UTF-8; the file may be in Latin-1"),
    (b"\x7fELF\x02\x01\x01\0\0\0", 1, "this is no text"),
    (GOOD + b"\0\n", 3, "this is no text"),
]


@pytest.mark.parametrize(("content", "line", "message"), BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("name", ["luigi.cfg", "overlay.cfg"])
def test_file_and_line_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, line: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "luigi.cfg").write_bytes(GOOD)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"^{name}, line {line}: .*{re.escape(message)}"):
        check_files({"LUIGI_CONFIG_PATH": name})


def test_keys_that_luigi_reads_at_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "luigi.cfg").write_text("[core]\nautoload_range = maybe\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"\[core\] autoload_range is not true or false"):
        check_files({})
    with pytest.raises(InputError, match=r"LUIGI_CONFIG_PARSER = toml: .* Unset it"):
        check_files({"LUIGI_CONFIG_PARSER": "toml"})


def test_letters_outside_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "luigi.cfg").write_text("[paths]\ndata = Prüfung\n", encoding="utf-8")
    check_files({})
    monkeypatch.setattr("locale.getpreferredencoding", lambda do_setlocale: "ascii")
    with pytest.raises(InputError, match=r"in this locale \(ascii\). Set PYTHONUTF8=1"):
        check_files({})


@pytest.mark.parametrize("name", ["luigi.cfg", "configs/camvid.cfg", "configs/voc2012.cfg"])
def test_shipped_files_are_legible(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    check_files({"LUIGI_CONFIG_PATH": name})


def test_a_command_prints_only_the_message(workplace: Workplace) -> None:
    (workplace.folder / "overlay.cfg").write_bytes(b"lr = 1\n")
    code, output = workplace.run(sys.executable, "-m", "tasks", "status")
    assert code == BAD_INPUT
    assert re.fullmatch(
        r"/.*overlay\.cfg, line 1: 'lr = 1' stands in no section\. Write \[section\] above it\.\n", output
    )
