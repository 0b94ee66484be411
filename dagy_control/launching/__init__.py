"""From a queued run to exactly one running task, whatever fails on the way.

May touch: `model`, `ports`, `kernel`. Must not: any sibling capability, settings, AWS libraries. `admission.py`, `breaker.py`
and `request.py` are rule modules of `decide.py`: pure.
"""
