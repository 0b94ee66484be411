"""Who is told. A hook is a function of one argument, called in a process of its own; it can never fail its task."""

# ruff: noqa: T201 - an example prints

from dagy_control.sdk import TaskEvent


def page(event: TaskEvent) -> None:
    """A task failed for good; here is where a pager would be called."""
    print(f"PAGE: {event.flow_name}/{event.task_key} of run {event.run_id}: {event.error_type}: {event.error_message}")


def note_retry(event: TaskEvent) -> None:
    """An attempt failed, and another follows."""
    print(
        f"{event.task_key}: attempt {event.attempt} failed ({event.error_message}), again in {event.retry_in_s:.1f} s"
    )


def is_worth_another_try(error: BaseException) -> bool:
    """A lost connection may come back; a region that does not exist will not."""
    return isinstance(error, ConnectionError | TimeoutError)
