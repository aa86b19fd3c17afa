"""Logs and figures of this process; a library that knows no room."""
