"""How many files a process may open: every connection is one, to a client and, while it is answered, to Anthropic.

Shells and service managers start a process with a low soft limit (often 1,024) below a high hard one, for the sake of
programs that call ``select``. Ours do not; whoever wants a bound sets the hard limit.
"""

from __future__ import annotations

import resource
from contextlib import suppress

#: What is enough for every worker: the hard limit may be in the millions, or none.
ENOUGH = 65_536


def raise_open_files_limit() -> None:
    """Raises the soft limit of this process, and of those it will start, to the hard one, or to what is enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a bound of its own below an infinite one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
