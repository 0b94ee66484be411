"""`@flow`: a function whose body connects tasks."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar, cast, overload

from dagy_control.errors import Permanent
from dagy_control.flow_engine.calls import importing_a_flow
from dagy_control.flow_engine.execution import EngineOptions, FlowRunner
from dagy_control.flow_engine.graph import FlowOutcome
from dagy_control.flow_engine.reporting import Reporter, SilentReporter
from dagy_control.kernel.clock import SystemClock
from dagy_control.model.flow_templates import Json
from dagy_control.model.flows import FlowSpec, ParameterSpec
from dagy_control.model.runs import ResultStatus
from dagy_control.sdk.building import FlowBuildError, ParameterPlaceholder, building, current_build, import_path_of
from dagy_control.sdk.places import Place, place_of_function
from dagy_control.sdk.task import in_a_loop

P = ParamSpec("P")
R = TypeVar("R")


_NO_PLAIN_FUNCTIONS = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class FlowRunError(Permanent):
    """`run_local` ended in failure; the message names the task, and has its traceback. `outcome` has it in parts."""

    def __init__(self, outcome: FlowOutcome) -> None:
        trace = outcome.error.traceback if outcome.error else ""
        super().__init__(f"{outcome.message}\n{trace}".rstrip())
        self.outcome = outcome


class Flow(Generic[P, R]):
    """A flow. Calling it runs its body as plain Python, tasks included; `build` and `run_local` make a graph of it."""

    def __init__(
        self, function: Callable[P, R], *, name: str, version: str, fail_fast: bool, max_concurrency: int | None
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.version = version
        self.fail_fast = fail_fast
        self.max_concurrency = max_concurrency

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here and now, one task after the other, without retries, timeouts or processes."""
        if (outer := current_build()) is not None:
            raise FlowBuildError(
                f"flow {self.name!r} is called in the body of flow {outer.flow_name!r}; call its tasks instead"
            )
        return self.function(*args, **kwargs)

    def build(self) -> FlowSpec:
        """Run the body once with placeholders and give the flow as data. Raises `FlowBuildError` with everything that is wrong."""
        parameters = self._parameters()
        placeholders = {parameter.name: ParameterPlaceholder(parameter.name) for parameter in parameters}
        with building(self.name) as build:
            returned = cast("Callable[..., R]", self.function)(**placeholders)
            try:
                result = build.template(returned, f"the result of flow {self.name!r}")
            except FlowBuildError as error:
                raise FlowBuildError(error.text, self._place) from None
        spec = FlowSpec(
            name=self.name,
            version=self.version,
            import_path=import_path_of(self.function, f"flow {self.name!r}"),
            parameters=parameters,
            tasks=tuple(build.tasks),
            result=result,
            fail_fast=self.fail_fast,
            max_concurrency=self.max_concurrency,
        )
        if problems := tuple(spec.problems()):
            places = [build.places.get(problem.task_key or "") or self._place for problem in problems]
            told = "; ".join(f"{problem.text} ({place})" for problem, place in zip(problems, places, strict=True))
            raise FlowBuildError(f"flow {self.name!r} cannot be built: {told}", places[0])
        return spec

    def run_local(self, *args: P.args, **parameters: P.kwargs) -> R:
        """Run the flow with the worker's own engine, child processes included, and give its result.

        For an author's tests and scripts; not inside a running event loop. Raises `FlowRunError`, and `FlowSpecError` for parameters
        that are not the flow's.
        """
        named = inspect.signature(self.function).bind_partial(*args).arguments
        if twice := named.keys() & parameters.keys():
            raise TypeError(f"{self.name}.run_local() got multiple values for {', '.join(sorted(twice))}")
        if in_a_loop():
            raise RuntimeError(
                f"an event loop runs here already (a notebook has one): await {self.name}.run_local_async({{…}}) instead"
            )
        return asyncio.run(self.run_local_async(cast("dict[str, Json]", {**named, **parameters})))

    async def run_local_async(
        self, parameters: dict[str, Json], *, reporter: Reporter | None = None, options: EngineOptions | None = None
    ) -> R:
        """`run_local` for a running event loop, or with a reporter that hears of every task."""
        if (
            importing_a_flow()
        ):  # else every process that imports the module for a task would begin the flow anew, without end
            raise FlowBuildError(
                f"flow {self.name!r} is run at the top level of a module that its tasks' own processes import; "
                'put this under `if __name__ == "__main__":`'
            )
        runner = FlowRunner(
            self.build(), parameters, reporter=reporter or SilentReporter(), clock=SystemClock(), options=options
        )
        outcome = await runner.run()
        if outcome.status is not ResultStatus.SUCCEEDED:
            raise FlowRunError(outcome)
        return cast("R", runner.result())

    @property
    def _place(self) -> Place | None:
        return place_of_function(self.function)

    def _parameters(self) -> tuple[ParameterSpec, ...]:
        found = []
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise FlowBuildError(
                    f"flow {self.name!r}: parameter {parameter.name!r} must be a plain named parameter", self._place
                )
            required = parameter.default is parameter.empty
            found.append(ParameterSpec(parameter.name, required, None if required else parameter.default))
        return tuple(found)


@overload
def flow(function: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(
    *, name: str | None = None, version: str = "1", fail_fast: bool = False, max_concurrency: int | None = None
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1",
    fail_fast: bool = False,
    max_concurrency: int | None = None,
) -> Flow[P, R] | Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a flow, bare or with settings.

    `name`: the function's by default. `version`: what is registered; a new version for every change. `fail_fast`: the first task
    that fails for good ends the flow and its running tasks; else, what does not depend on it still runs.
    `max_concurrency`: most tasks at once; by default the CPUs of the machine.
    """

    def decorate(decorated: Callable[P, R]) -> Flow[P, R]:
        if any(kind(decorated) for kind in _NO_PLAIN_FUNCTIONS):
            text = f"flow {decorated.__name__!r} is no plain function: its body only connects tasks, which may be async"
            raise FlowBuildError(f"{text}; write def, and return what the tasks give", place_of_function(decorated))
        return Flow(
            decorated,
            name=name or decorated.__name__,
            version=version,
            fail_fast=fail_fast,
            max_concurrency=max_concurrency,
        )

    return decorate if function is None else decorate(function)
