"""Our own nouns and rules, pure: no clock, no randomness, no network (STYLE.md section 3)."""
