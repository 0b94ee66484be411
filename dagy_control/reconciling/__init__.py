"""Keeps the records of running runs true to what ECS says, and enforces what is recorded: cancels and start timeouts.

May touch: `model`, `ports`, `kernel`. Must not: any sibling capability, settings, AWS libraries.
"""
