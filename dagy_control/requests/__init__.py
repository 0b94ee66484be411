"""A person's or a program's intent, checked and written down. The loops act on it later.

Launch, batch, retry, cancel; register a flow, set a deployment; list a batch.

May touch: `model`, `ports`, `kernel`. Must not: ECS, any loop, settings. Every function refuses bad input with a
`RequestRefused` that says what is wrong, where, and what to do, and then has written nothing.
"""
