"""What the real API refuses, with its words and paths. One module per topic; each check raises ``Invalid``."""

from workers.simulator.signatures import NO_BLOCK
from workers.simulator.validation.request import check_length, check_request
from workers.simulator.validation.shape import shape_error
from workers.simulator.validation.thinking_blocks import Dropped, check_thinking_blocks

__all__ = ["NO_BLOCK", "Dropped", "check_length", "check_request", "check_thinking_blocks", "shape_error"]
