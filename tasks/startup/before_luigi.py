"""Importing this module checks the configuration files, which Luigi reads at import, and opens closed streams.

The command ``luigi`` imports Luigi before this package and has read the files already. Its output streams, which print
the help, are protected here.
"""

import sys
from pathlib import Path

from roar_pipeline.errors import InputError
from tasks.startup import config_files, streams

__all__ = ["BAD_INPUT"]

BAD_INPUT = 40
"""Exit code of a command that is refused before it starts any work."""

streams.open_closed()
if "luigi" not in sys.modules:
    try:
        config_files.check_files()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(BAD_INPUT) from None
elif Path(sys.argv[0]).name == "luigi":
    streams.protect(is_strict=True)
