"""An import that failed, explained: what was looked for, where, and what is there instead. Nothing is imported for it."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dagy_control.model.flows import FlowSpec, TaskSpec
from dagy_control.model.runs import FailureClass
from dagy_control.worker.imports import ImportPlaces, Place, modules_in

BOOM = "raise SystemExit('a module was imported')"


def made(folder: Path, *files: str) -> Path:
    """A folder of these files, each of which ends whoever imports it."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BOOM)
    return folder


@pytest.fixture
def places(tmp_path: Path) -> ImportPlaces:
    artifact = made(
        tmp_path / "artifact", "etl/__init__.py", "etl/extract.py", "etl/deep/load.py", "numpy.py", "reports.py"
    )
    package = made(tmp_path / "package", "science/__init__.py", "science/models.py", "pandas_like/__init__.py")
    image = made(tmp_path / "image", "numpy/__init__.py", "numpy/linalg/__init__.py", "boto/__init__.py")
    own = [Place(str(artifact), "the artifact"), Place(str(package), "dependency package 'science-1'")]
    return ImportPlaces(own, [str(image)], ["science-1"])


@pytest.mark.parametrize(
    ("message", "failure_class", "told"),
    [
        pytest.param(
            "importing 'etl' failed: ImportError: No module named 'pandas'",
            FailureClass.DEPENDENCY,
            "'pandas' is not in the worker's image, nor in the artifact, nor in the dependency packages [science-1]",
            id="a library that nobody has",
        ),
        pytest.param(
            "No module named 'etll.extract'",
            FailureClass.DEPENDENCY,
            "did you mean 'etl'?",
            id="a library like one of the artifact's",
        ),
        pytest.param(
            "there is no module 'report'. Looked in",
            FailureClass.IMPORT,
            "'report' is not in the artifact, which has: etl, numpy, reports; did you mean 'reports'?",
            id="the flow's own module",
        ),
        pytest.param(
            "No module named 'etl.extrct'",
            FailureClass.IMPORT,
            "'etl' has no 'extrct', only: deep, extract; did you mean 'extract'?",
            id="a module of the artifact's package",
        ),
        pytest.param(
            "No module named 'etl.deep.loadd'",
            FailureClass.IMPORT,
            "'etl.deep' has no 'loadd', only: load; did you mean 'load'?",
            id="a module of a folder without __init__.py",
        ),
        pytest.param(
            "No module named 'science.model'",
            FailureClass.IMPORT,
            "'science' is taken from dependency package 'science-1'",
            id="a module of a dependency package",
        ),
        pytest.param(
            "No module named 'numpy.linalg'; 'numpy' is not a package",
            FailureClass.IMPORT,
            "'numpy' is taken from the artifact (",
            id="a library that a module of the artifact hides",
        ),
        pytest.param(
            "No module named 'reports.daily'; 'reports' is not a package",
            FailureClass.IMPORT,
            "a module, not a package, so 'reports.daily' cannot be in it",
            id="a module taken for a package",
        ),
        pytest.param(
            "No module named 'boto'", FailureClass.IMPORT, "is taken from the worker's image", id="one that is there"
        ),
    ],
)
def test_a_missing_module_is_explained(
    message: str, failure_class: FailureClass, told: str, places: ImportPlaces
) -> None:
    explanation = places.explain(message)
    assert explanation is not None
    assert told in explanation.sentence
    assert explanation.failure_class is failure_class


def test_a_hidden_library_is_named_with_both_files(places: ImportPlaces) -> None:
    explanation = places.explain("No module named 'numpy.linalg'; 'numpy' is not a package")
    assert explanation is not None
    assert "numpy.py), which hides the one in the worker's image (" in explanation.sentence
    assert explanation.sentence.endswith("rename the first")


def test_a_run_without_packages_is_told_so(tmp_path: Path) -> None:
    places = ImportPlaces([Place(str(made(tmp_path, "etl.py")), "the artifact")], [], [])
    explanation = places.explain("No module named 'pandas'")
    assert explanation is not None
    assert "nor in a dependency package (the run has none)" in explanation.sentence


def test_other_messages_are_left_alone(places: ImportPlaces) -> None:
    assert places.explain("cannot import name 'x' from 'etl'") is None


def test_modules_that_hide_pythons_or_the_workers_own_are_told(tmp_path: Path) -> None:
    artifact = made(tmp_path / "artifact", "queue.py", "etl.py", "dagy_control/__init__.py")
    package = made(tmp_path / "package", "json/__init__.py")
    places = ImportPlaces(
        [Place(str(artifact), "the artifact"), Place(str(package), "dependency package 'x'")], [], ["x"]
    )
    assert places.shadows() == [
        "'dagy_control' in the artifact hides Python's or the worker's own module; rename it",
        "'queue' in the artifact hides Python's or the worker's own module; rename it",
        "'json' in dependency package 'x' hides Python's or the worker's own module; rename it",
    ]


def test_the_trace_tells_for_each_module_where_it_is_taken_from_and_what_it_hides(places: ImportPlaces) -> None:
    tasks = tuple(
        TaskSpec(key=path.replace(":", "."), name="t", import_path=path)
        for path in ("etl.extract:run", "numpy:run", "nowhere:run")
    )
    with capture_logs() as lines:
        places.trace(FlowSpec(name="etl", version="1", import_path="etl:flow", tasks=tasks))
    assert [line["log_level"] for line in lines] == ["debug"] * 4
    assert lines[0]["event_type"] == "module_places"
    assert lines[0]["places"][0].startswith("the artifact: ")
    resolved = {line["module"]: line for line in lines[1:]}
    assert resolved["etl.extract"]["taken_from"].endswith("etl/extract.py")
    assert [each.partition(":")[0] for each in resolved["numpy"]["hidden"]] == ["the worker's image"]
    assert (resolved["nowhere"]["taken_from"], resolved["nowhere"]["hidden"]) == (None, [])


def test_only_what_python_can_import_counts_as_a_module(tmp_path: Path) -> None:
    made(tmp_path, "a.py", "b/x.py", "c.txt", "d-e.py", "f.cpython-311-x86_64-linux-gnu.so", "__pycache__/a.pyc")
    assert modules_in(tmp_path) == ["a", "b", "f"]
    assert modules_in(tmp_path / "nowhere") == []
