"""`dagy-control packages`: libraries that runs take beside their flow's artifact."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from dagy_control.config import Settings
from dagy_control.entrypoints.command import ConfigOption, JsonOption, console, with_ports
from dagy_control.entrypoints.policies import worker_policy
from dagy_control.entrypoints.wiring import Ports
from dagy_control.model.dep_packages import DepPackage, may_use
from dagy_control.requests.packages import add_package, check_slug
from dagy_control.requests.refusals import RequestRefused
from dagy_control.worker.archive import ArchiveRefused, inspect
from dagy_control.worker.disk import MEBIBYTE, NoRoom
from dagy_control.worker.packages import require_python

app = typer.Typer(name="packages", help="Dependency packages: libraries that deployments name.", no_args_is_help=True)


@app.command()
def add(
    slug: Annotated[str, typer.Argument(help="NAME, for every organisation, or ORGANISATION/NAME, for that one only.")],
    file: Annotated[Path, typer.Argument(help="A ZIP or tar.gz with package folders at its top, or a wheel.")],
    replace: Annotated[bool, typer.Option(help="Take the place of another content under this slug.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a package as a worker would, upload it, and record it under its slug."""

    async def work(ports: Ports) -> DepPackage:
        check_slug(slug)
        return await add_package(
            ports.dep_packages,
            ports.artifacts,
            ports.clock,
            slug=slug,
            file_name=file.name,
            content=checked(file, ports.settings),
            prefix=ports.settings.storage.dep_package_prefix,
            replace=replace,
        )

    package = with_ports(config, work)
    if as_json:
        print(json.dumps(package_document(package), indent=2))
    else:
        use = f"dagy-control deployments set NAME --flow FLOW --org ORGANISATION --package {slug}"
        print(f"added {slug}: {package.size:,} bytes, {package.package_s3_uri}; name it in a deployment: {use}")


@app.command("list")
def list_packages(
    org_id: Annotated[str | None, typer.Option("--org", help="Those that this organisation may use.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the packages."""

    async def work(ports: Ports) -> Sequence[DepPackage]:
        return await ports.dep_packages.all()

    packages = [each for each in with_ports(config, work) if org_id is None or may_use(org_id, each.slug)]
    if as_json:
        print(json.dumps([package_document(each) for each in packages], indent=2))
        return
    table = Table("package", "MiB", "added", "sha256", "where", box=SIMPLE_HEAD, pad_edge=False)
    for each in packages:
        added = "" if each.added_at is None else each.added_at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(each.slug, f"{each.size / MEBIBYTE:.1f}", added, each.sha256[:12], each.package_s3_uri)
    console().print(table)


def checked(file: Path, settings: Settings) -> bytes:
    """The file's content, if a worker under these settings would take it. Raises `RequestRefused`."""
    policy = worker_policy(settings).packages
    try:
        size = file.stat().st_size
        if size > policy.packed_bytes_max:
            raise RequestRefused(
                "file",
                f"{file} has {size:,} bytes, more than worker.dep_package_max_mib allows ({policy.packed_bytes_max:,})",
            )
        with tempfile.TemporaryDirectory() as scratch:
            entries = inspect(file, Path(scratch), policy.limits)
        if file.suffix != ".whl":
            require_python({entry.path for entry in entries if not entry.is_dir})
        return file.read_bytes()
    except (ArchiveRefused, NoRoom) as error:
        raise RequestRefused("file", f"{file} is no package that a worker would take: {error}") from error
    except OSError as error:
        raise RequestRefused("file", f"{file} cannot be read: {error.strerror or error}") from error


def package_document(package: DepPackage) -> dict[str, Any]:
    """A package for programs."""
    values = ((each.name, getattr(package, each.name)) for each in fields(package))
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values if value is not None
    }
