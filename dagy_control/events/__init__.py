"""Consumes task state-change events, so that a stopped task is known at once. Events are hints: losing them all loses nothing.

May touch: `model`, `ports`, `kernel`. Must not: any sibling capability, settings, AWS libraries.
"""
