"""What the simulated model says: text, tool calls, JSON of a schema, thinking, web searches. Pure and
deterministic.
"""
