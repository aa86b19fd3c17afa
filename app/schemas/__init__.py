"""The wires, pure: what each dialect's JSON and event frames look like, field by field."""
