"""The checks of ``claude-wrapper doctor``: each looks at one thing and returns what it found, and never raises."""
