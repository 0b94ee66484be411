"""What the program needs of the outside, as Protocols. Each method says its success, absence, errors and retry safety.

May touch: `model` and `errors`. Must not: any implementation. Adapters implement these for AWS, `tests/fakes` in memory; one
contract suite holds both to the docstrings. Every method may raise `Transient` (it may work later; unless `throttled`, whether
it was applied is unknown) and `Permanent` (refused; nothing was applied).
"""
