"""The nouns of the program and the judgements that several rooms share: runs, ECS tasks, sizes, outcomes, flows.

May touch: the standard library's plain data types. Must not: any I/O, clock, randomness, logging or port. Every function
here takes `now` as a parameter and gives the same answer for the same arguments.
"""
