"""``python -m workers.simulator --port P --ttft-ms N ...``: every setting is a flag.

It prints the base URL once it listens. The official command is ``claude-wrapper simulator``; this one needs nothing but
the simulator, and serves tests.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from app.config import SettingError, resolve, settings_of
from workers.simulator.server import run
from workers.simulator.settings import SimulatorSettings


def main() -> None:
    """Parses flags, runs until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.simulator", description="Simulates Anthropic's Messages API."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: a free one")
    parser.add_argument("--uds", help="unix socket to listen on instead")
    parser.add_argument("--parent-pid", type=int, help="leave when this process, which started it, is gone")
    for field, (help_, type_, default) in settings_of(SimulatorSettings).items():
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if type_ is bool else {}
        shown = "" if help_.secret else f" (default: {default})"
        parser.add_argument(f"--{field.replace('_', '-')}", help=(help_.text + shown).replace("%", "%%"), **switch)
    given = vars(parser.parse_args())
    try:
        settings, _ = resolve(
            SimulatorSettings, os.environ, {name: given[name] for name in SimulatorSettings.__struct_fields__}
        )
    except SettingError as error:
        parser.error(str(error))

    def ready(base_url: str) -> None:
        sys.stdout.write(base_url + "\n")
        sys.stdout.flush()

    run(
        settings,
        host=given["host"],
        port=given["port"],
        uds=given["uds"],
        exit_with_parent=given["parent_pid"] is not None,
        parent_pid=given["parent_pid"],
        on_ready=ready,
    )


if __name__ == "__main__":
    main()
