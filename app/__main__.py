"""``python -m app``, and how the command starts itself again: ``python -P <this file> ...``."""

import sys
from pathlib import Path

if not __package__:
    # Run by its path, so that nothing of the working directory is on sys.path; last, so that it shadows nothing.
    sys.path.append(str(Path(__file__).parents[1]))

from app.cli import main

main()
