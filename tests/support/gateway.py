"""A gateway under test, started as a user starts it: ``with running_gateway("--mock") as gateway``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import PROJECT, ChildProcess, child_process

_STARTS_WITHIN_S = 60.0


class RunningGateway:
    """A gateway that is ready.

    Attributes:
        base_url: without ``/v1``.
        process: its master.
        data_dir: the directory of its PID file, log and state.
    """

    def __init__(self, base_url: str, process: ChildProcess, data_dir: Path) -> None:
        self.base_url = base_url
        self.process = process
        self.data_dir = data_dir

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.base_url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Process id of the master."""
        return self.process.pid

    @property
    def logs(self) -> str:
        """Everything printed so far, by the master and the workers."""
        return self.process.logs


def gateway_command(*args: str) -> list[str]:
    """The command line of this checkout, without an installed script."""
    return [sys.executable, "-P", str(PROJECT / "app" / "__main__.py"), *args]


@contextmanager
def running_gateway(
    *args: str, env: Mapping[str, str] | None = None, cwd: Path = PROJECT, data_dir: Path | None = None
) -> Iterator[RunningGateway]:
    """Runs ``claude-wrapper serve`` on a free port until the block ends.

    Args:
        args: flags, such as ``--mock``; ``--port`` when the port matters.
        env: variables besides the environment of the tests, which is cleaned of settings.
        cwd: its working directory.
        data_dir: where its state is kept; a directory of its own by default.
    """
    port = [] if any(arg in ("-p", "--port") for arg in args) else ["--port", "0"]
    with tempfile.TemporaryDirectory(prefix="cw-") as temporary:
        directory = data_dir or Path(temporary) / "data"
        settings = {"CLAUDE_WRAPPER_DATA_DIR": str(directory)} | dict(env or {})
        output = Path(temporary) / "output"
        with child_process(gateway_command("serve", *port, *args), env=settings, cwd=cwd, output=output) as process:
            found = process.wait_for(r"OPENAI_BASE_URL=(\S+)/v1\n", within_s=_STARTS_WITHIN_S)
            yield RunningGateway(found[1], process, directory)
