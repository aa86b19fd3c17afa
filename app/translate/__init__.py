"""Translation between wire formats, pure: one module per direction of one pair (STYLE.md section 2)."""
