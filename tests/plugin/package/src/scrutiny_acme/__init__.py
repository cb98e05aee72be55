"""Methods, metrics and tasks for scrutiny from another package."""
