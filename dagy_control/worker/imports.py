"""Where the flow's modules are, looked up without importing any: to trace resolution, and to explain an import that failed.

`sys.path` is taken as a row of places with names that people know: the artifact, each dependency package, the worker's image.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from dagy_control.kernel.telemetry import log
from dagy_control.model.flows import FlowSpec, nearest
from dagy_control.model.runs import FailureClass

MISSING = re.compile(r"(?:No module named|there is no module) '([\w.]+)'")
"""Python's own words, and the engine's, for a module that is not there."""
OWN_NAME = "dagy_control"
_log = log("dagy.worker")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on `sys.path`, under the name that a sentence gives it."""

    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """A module as one place has it. `file`: its source, or its folder; `is_package`: whether it can hold other modules."""

    place: Place
    file: str
    is_package: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an import failed, in one sentence, and the class of the failure."""

    failure_class: FailureClass
    sentence: str


class ImportPlaces:
    """The places in the order in which Python looks, and the slugs of the packages that the run has."""

    def __init__(self, own: Sequence[Place], image: Iterable[str], slugs: Sequence[str]) -> None:
        self._own = list(own)
        self._places = [*own, *(Place(folder, "the worker's image") for folder in image if folder)]
        self._slugs = list(slugs)

    def holders(self, module: str) -> list[Found]:
        """Every place that has the module, the one that Python takes first."""
        found: list[Found] = []
        for place in self._places:
            spec = _find(module, [place.folder])
            if spec is not None:
                locations = list(spec.submodule_search_locations or [])
                file = spec.origin if spec.origin not in (None, "namespace") else (locations or ["?"])[0]
                found.append(Found(place, str(file), bool(locations)))
        return found

    def shadows(self) -> list[str]:
        """A sentence for each top-level module of the artifact or a package that hides one which the worker itself needs."""
        sentences: list[str] = []
        for place in self._own:
            hidden = sorted(name for name in modules_in(place.folder) if name in _NEEDED_BY_WORKER)
            sentences += [
                f"{name!r} in {place.name} hides Python's or the worker's own module; rename it" for name in hidden
            ]
        return sentences

    def trace(self, spec: FlowSpec) -> None:
        """Log where each of the flow's modules is found, and where else; for DAGY_LOG_LEVEL=DEBUG."""
        _log.debug(
            "places where modules are looked for",
            event_type="module_places",
            places=[f"{place.name}: {place.folder}" for place in self._places],
        )
        modules = dict.fromkeys(task.import_path.partition(":")[0] for task in spec.tasks)
        for module in modules:
            found = [f"{each.place.name}: {each.file}" for each in self.holders(module)]
            _log.debug(
                f"module {module} is taken from {found[0]}" if found else f"module {module} is nowhere",
                event_type="module_resolved",
                module=module,
                taken_from=found[0] if found else None,
                hidden=found[1:],
            )

    def explain(self, message: str) -> Explanation | None:
        """What an error message about a missing module means here; None for a message about anything else."""
        match = MISSING.search(message)
        if match is None:
            return None
        missing = match.group(1)
        top, _, rest = missing.partition(".")
        holders = self.holders(top)
        if not holders:
            return self._nowhere(missing, is_own="there is no module" in match.group(0))
        taken, *hidden = holders
        where = f"{top!r} is taken from {taken.place.name} ({taken.file})"
        if hidden and rest and any(_find(missing, [each.place.folder]) for each in hidden):
            other = next(each for each in hidden if _find(missing, [each.place.folder]))
            return Explanation(
                FailureClass.IMPORT,
                f"{where}, which hides the one in {other.place.name} ({other.file}): rename the first",
            )
        if rest and not taken.is_package:
            return Explanation(FailureClass.IMPORT, f"{where}: a module, not a package, so {missing!r} cannot be in it")
        if rest:
            return Explanation(FailureClass.IMPORT, f"{where}, {_inside(taken.file, missing)}")
        return Explanation(
            FailureClass.IMPORT,
            f"{where} now, but was not found then: something changes sys.path, or its import is broken",
        )

    def _nowhere(self, missing: str, *, is_own: bool) -> Explanation:
        packages = (
            f"the dependency packages [{', '.join(self._slugs)}]"
            if self._slugs
            else "a dependency package (the run has none)"
        )
        own = sorted({name for place in self._own for name in modules_in(place.folder)})
        hint = nearest(missing.partition(".")[0], own)
        if is_own:
            there = ", ".join(modules_in(self._own[0].folder)[:20]) if self._own else ""
            return Explanation(
                FailureClass.IMPORT,
                f"{missing!r} is not in the artifact, which has: {there or 'no modules'}{hint}. "
                f"Nor is it in {packages} or the worker's image",
            )
        return Explanation(
            FailureClass.DEPENDENCY,
            f"{missing!r} is not in the worker's image, nor in the artifact, nor in {packages}{hint}; "
            "add it to a dependency package that the deployment names, or to the image",
        )


def modules_in(folder: str | Path) -> list[str]:
    """Names of the modules and package folders at the top of a folder."""
    path = Path(folder)
    if not path.is_dir():
        return []
    return sorted(
        entry.stem.partition(".")[0]
        for entry in path.iterdir()
        if (entry.suffix in (".py", ".so") and entry.stem.partition(".")[0].isidentifier())
        or (entry.is_dir() and entry.name.isidentifier() and entry.name != "__pycache__")
    )


def _find(module: str, folders: Sequence[str]) -> ModuleSpec | None:
    """The module's spec, looked for in these folders only; nothing is imported, not even its parent packages."""
    name, _, rest = module.partition(".")
    qualified, places = name, list(folders)
    while True:
        try:
            spec = PathFinder.find_spec(qualified, places)
        except (ImportError, ValueError, OSError):  # a place that cannot be read has no modules
            return None
        if spec is None or not rest:
            return spec
        places = list(spec.submodule_search_locations or [])
        if not places:
            return None
        name, _, rest = rest.partition(".")
        qualified = f"{qualified}.{name}"


def _inside(file: str, missing: str) -> str:
    """What the package that should hold a missing module has instead: of the deepest one that is there."""
    folder = Path(file).parent if file.endswith(".py") else Path(file)
    parts = missing.split(".")
    walked = parts[0]
    for part in parts[1:-1]:
        if not (folder / part).is_dir():
            break
        folder, walked = folder / part, f"{walked}.{part}"
    there = [name for name in modules_in(folder) if name != "__init__"]
    wanted = missing.removeprefix(f"{walked}.").partition(".")[0]
    return f"and {walked!r} has no {wanted!r}, only: {', '.join(there[:20]) or 'nothing'}{nearest(wanted, there)}"


_NEEDED_BY_WORKER = frozenset({OWN_NAME, *sys.stdlib_module_names})
