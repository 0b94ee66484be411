"""From a queued run to exactly one running task, whatever fails on the way.

May touch: `model`, `ports`, `kernel`. Must not: any sibling capability, settings, AWS libraries. `admission.py`, `breaker.py`,
`request.py` and `sample.py` are rule modules: pure.
"""
