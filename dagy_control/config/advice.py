"""What is valid, but probably not meant: said by `config check` and when the service starts."""

from collections.abc import Iterator

from dagy_control.config.loading import Loaded


def find_advice(loaded: Loaded) -> tuple[str, ...]:
    """One sentence for each thing that an operator should know; empty when there is nothing to say."""
    return tuple(_advice(loaded))


def _advice(loaded: Loaded) -> Iterator[str]:
    settings = loaded.settings
    if missing := settings.ecs.missing_for_launch():
        yield f"the executor 'ecs' is not available, nothing can be launched: set {', '.join(missing)}"
    for table in settings.orphans.state_tables:
        if table.table is None and settings.orphans.enabled:
            named = (
                "a state table is unset: tasks with its tag"
                if "orphans.state_tables" in loaded.references
                else f"the state table '{table.name}' is unset: tasks with the tag {table.task_tag}"
            )
            yield f"{named} are counted, not judged"
    if settings.orphans.enabled and settings.orphans.dry_run:
        yield "orphans.dry_run is true: orphans are reported, not stopped"
    if settings.events.enabled and settings.events.queue_url is None:
        interval = "reconciling.interval_s"
        within = interval if interval in loaded.references else f"{settings.reconciling.interval_s:g} s"
        yield f"events.queue_url is unset: ends of tasks are noticed by polling only, within {within} or more"
    if settings.aws.max_connections < settings.launching.max_in_flight:
        yield "aws.max_connections is below launching.max_in_flight: launches will wait for a connection"
    for name, winner in loaded.unused.items():
        yield f"{name} has no effect: {winner} wins over it"
