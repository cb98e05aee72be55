"""Plan, execute, cache, keep. The only floor that knows both methods and tasks, and it meets them through the registry."""
