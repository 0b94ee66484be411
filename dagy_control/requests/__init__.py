"""A person's or a program's intent, checked and written down: launch, cancel, register a flow. The loops act on it later.

May touch: `model`, `ports`, `kernel`. Must not: ECS, any loop, settings. Every function refuses bad input with a
`RequestRefused` that says what is wrong, where, and what to do, and then has written nothing.
"""
