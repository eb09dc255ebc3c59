"""Checks of the configuration files before Luigi is imported, which reads them and ends in a traceback where it cannot.

This module must not import Luigi. The command ``luigi`` imports Luigi first, so the checks are for our own commands.
"""

import configparser
import locale
import os
from collections.abc import Mapping
from pathlib import Path

from roar_pipeline.errors import InputError

__all__ = ["check_files"]

_SEARCHED = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
"""The files that Luigi reads, in this order; the file of LUIGI_CONFIG_PATH comes last."""
_MARKS = {b"\xef\xbb\xbf": "UTF-8 with", b"\xff\xfe": "UTF-16 with", b"\xfe\xff": "UTF-16 with"}
"""Byte order marks, with their encodings."""
_UNPRINTABLE = frozenset(range(32)) - set(b"\t\n\r\f")


def check_files(environment: Mapping[str, str] = os.environ) -> None:
    """Read every configuration file that Luigi will read.

    Raises:
        InputError: a file cannot be read; the message names file and line, and says what to do.
    """
    kind = environment.get("LUIGI_CONFIG_PARSER", "cfg")
    if kind not in ("cfg", "conf", "ini"):
        raise InputError(f"LUIGI_CONFIG_PARSER = {kind}: the settings are read from .cfg files. Unset it.")
    overlay = environment.get("LUIGI_CONFIG_PATH")
    for name in (*_SEARCHED, *([overlay] if overlay else [])):
        path = Path(name)
        if path.is_file():
            _check(path)


def _check(path: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Mend that, or name another file.") from error
    text = _decode(path, content)
    parser = _Parser(interpolation=None)
    try:
        parser.read_string(text, str(path))
        parser.getboolean("core", "autoload_range", fallback=True)
    except configparser.Error as error:
        raise InputError(_message(path, error)) from None
    except ValueError:  # Luigi reads this key at import
        raise InputError(f"{path}: [core] autoload_range is not true or false. Say which.") from None


class _Parser(configparser.ConfigParser):
    """A parser like Luigi's: keys keep their capitals."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _decode(path: Path, content: bytes) -> str:
    """Return the text in the encoding that Luigi will use."""
    for mark, kind in _MARKS.items():
        if content.startswith(mark):
            raise InputError(f"{path}, line 1: the file is {kind} a byte order mark. Save it as UTF-8 without one.")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not _UNPRINTABLE.isdisjoint(line):
            raise InputError(
                f"{path}, line {number}: this is no text, or text in UTF-16. Name a configuration file, saved as UTF-8."
            )
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}: byte {line[error.start]:#04x} is not UTF-8; the file may be in Latin-1. Save "
                "it as UTF-8."
            ) from None
    encoding = locale.getpreferredencoding(False)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(
            f"{path} holds letters that Python cannot read in this locale ({encoding}). Set PYTHONUTF8=1, or a locale "
            "with UTF-8, such as LC_ALL=C.UTF-8."
        ) from None


def _message(path: Path, error: configparser.Error) -> str:
    match error:
        case configparser.DuplicateSectionError():
            return f"{path}, line {error.lineno}: a second section [{error.section}]. Join the two."
        case configparser.DuplicateOptionError():
            return f"{path}, line {error.lineno}: a second '{error.option}' in [{error.section}]. Keep one of the two."
        case configparser.MissingSectionHeaderError() if error.line.lstrip().startswith("["):
            return f"{path}, line {error.lineno}: {_quote(error.line)} has no closing bracket. Write [section]."
        case configparser.MissingSectionHeaderError():
            return f"{path}, line {error.lineno}: {_quote(error.line)} stands in no section. Write [section] above it."
        case configparser.ParsingError():
            number, line = error.errors[0]
            return f"{path}, line {number}: {_quote(line)} is neither [section] nor key = value. Mend or remove it."
        case _:
            return f"{path}: {' '.join(str(error).split())}. Mend the file."


def _quote(line: str) -> str:
    text = line.strip().removeprefix("'").removesuffix("'").removesuffix("\\n")
    return f"'{text[:60]}'"
