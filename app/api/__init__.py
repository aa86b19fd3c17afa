"""The doors: parse, call, render. One controller per family of routes."""
