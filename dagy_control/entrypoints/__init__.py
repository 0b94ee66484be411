"""Where the program is put together: commands and processes; settings to adapters to capabilities.

May touch: every room; it alone reads settings and the process's environment. Must not: be imported by any other room, or
hold a decision of its own.
"""
