"""The stacks, one module for each concern. They read `dagy_control.model` and `dagy_control.config`'s defaults, and must not repeat them.

Nothing here may look anything up in an account: the same configuration gives the same template, on any machine.
"""
