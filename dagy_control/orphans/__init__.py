"""Finds tasks that run and should not, by comparing what runs with what the records say, and stops them when told to.

May touch: `model`, `ports`, `kernel`. Must not: any sibling capability, settings, AWS libraries. `criteria.py` is a rule
module of `decide.py`: pure. `report.py` gives the documented output.
"""
