"""What is done before Luigi is imported, and so when this module is: Luigi reads its configuration files just then.

Luigi's own command has imported Luigi before it imports this package, and has read the files by itself. Its output, the
help above all, is protected here.
"""

import sys
from pathlib import Path

from roar_pipeline.errors import InputError
from tasks.startup import config_files, streams

__all__ = ["BAD_INPUT"]

BAD_INPUT = 40
"""Exit code of a command that was refused before anything was started."""

streams.open_closed()
if "luigi" not in sys.modules:
    try:
        config_files.check_files()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(BAD_INPUT) from None
elif Path(sys.argv[0]).name == "luigi":
    streams.protect(is_strict=True)
