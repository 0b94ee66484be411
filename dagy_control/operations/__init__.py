"""What the operations runbook did by hand: here, telling the story of a run from what is on record.

May touch: `model`, and launching's rules of admission. Must not: ports, AWS, ECS (which forgets a task after an hour), the clock,
settings: what is told is what was kept.
"""
