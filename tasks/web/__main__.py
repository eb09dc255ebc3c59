"""Show a grid, its results and its report in the browser. Further options are those of luigi's Report."""

import argparse
import sys
from collections.abc import Sequence

import tasks  # noqa: F401, registers the families
from roar_pipeline.errors import InputError
from tasks.chain.survey import grid_of
from tasks.configuration.settings import BAD_INPUT, settings
from tasks.web.server import serve


def main(words: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tasks.web", description=__doc__)
    parser.add_argument("--port", type=int, help="of 127.0.0.1 (default: [execution] page_port; 0: any free one)")
    known, rest = parser.parse_known_args(words)
    try:
        with grid_of(rest) as report:
            serve(report, settings().execution.page_port if known.port is None else known.port)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
