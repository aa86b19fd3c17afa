"""What the simulated model says: text, tool calls, JSON, thinking, web searches. Pure and deterministic."""
