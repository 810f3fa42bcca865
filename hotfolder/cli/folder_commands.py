"""The commands of the hot folder: `watch`, `status`, `explain`, ...

Each opens its modules when it is called: `--help` stays instant.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import (
    FOLDER,
    JSON,
)
from presets import complain, say, say_json

from .arguments import CONFIG, ROOT, STATE

if TYPE_CHECKING:
    from ..admin import Admin
    from ..daemon import Daemon
    from ..optional_server import Server
    from ..settings import HttpSettings


def _admin(root: Path, state: Path | None, config: Path | None) -> Admin:
    """One hot folder, for questions."""
    from ..admin import Admin
    from ..root import state_folder
    from ..settings import HotFolderSettings, load_settings

    settings = load_settings(config) if config else HotFolderSettings()
    return Admin(root, state_folder(root, state), settings)


def _root_of(root: Path | None, path: Path) -> Path:
    from ..root import find_root

    return root or find_root(path)


def _each(
    files: tuple[str, ...], root: Path | None, state: Path | None
) -> Iterator[tuple[str, Admin]]:
    """Every file with the hot folder that it belongs to."""
    for file in files:
        with _admin(_root_of(root, Path(file)), state, None) as admin:
            yield file, admin


@click.command()
@click.argument("root", type=FOLDER)
@CONFIG
@STATE
@click.option("--once", is_flag=True, help="End when nothing is left to do.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done; change nothing.")
@click.option("--adopt", is_flag=True, help="Accept folders that were replaced on purpose.")
def watch(
    root: Path, config: Path | None, state: Path | None, once: bool, dry_run: bool, adopt: bool
) -> None:
    """Make sets of the mixes that are dropped into ROOT/inbox.

    They appear in ROOT/outbox. The folders are made where they are missing.
    """
    from ..admin import preview
    from ..daemon import Daemon
    from ..logs import log_to
    from ..root import state_folder
    from ..settings import HotFolderSettings, load_settings

    settings = load_settings(config) if config else HotFolderSettings()
    if dry_run:
        for line in preview(root, settings):
            say(line)
        return
    log_to(sys.stderr)
    where = state_folder(root, state)
    daemon = Daemon(
        root, where, settings, settings_file=config, adopt=adopt, serve=_dashboard_or_health
    )
    try:
        failed = daemon.run(once=once)
        if daemon.unmet:
            complain(f"stemwright: {daemon.unmet}")
    finally:
        daemon.close()
    sys.exit(failed)


def _dashboard_or_health(daemon: Daemon, http: HttpSettings) -> Server:
    """The dashboard where its packages are installed, else health and metrics alone."""
    from importlib.util import find_spec

    if find_spec("starlette") and find_spec("uvicorn"):
        from ..dashboard.server import DashboardServer

        return DashboardServer(
            http, daemon.health, daemon.root.path, daemon.state, daemon.settings
        )
    from ..http_server import HealthServer

    return HealthServer(http, daemon.health)


@click.command()
@click.argument("root", type=FOLDER, default=Path())
@STATE
def dashboard(root: Path, state: Path | None) -> None:
    """Print the address of a hot folder's dashboard."""
    from ..dashboard_address import dashboard_address
    from ..root import state_folder

    root = _root_of(None, root)
    say(dashboard_address(root, state_folder(root, state)))


@click.command()
@click.argument("root", type=FOLDER, default=Path())
@STATE
@CONFIG
@JSON
def status(root: Path, state: Path | None, config: Path | None, as_json: bool) -> None:
    """Tell what a hot folder does: counts, work, waits, failures."""
    with _admin(_root_of(None, root), state, config) as admin:
        if as_json:
            say_json(admin.status())
        else:
            for line in admin.status_lines():
                say(line)


@click.command()
@click.argument("files", nargs=-1, required=True)
@ROOT
@STATE
@CONFIG
def explain(
    files: tuple[str, ...], root: Path | None, state: Path | None, config: Path | None
) -> None:
    """Say why each of FILES is where it is.

    That is waiting, queued, in work, done or quarantined.
    """
    for file in files:
        with _admin(_root_of(root, Path(file)), state, config) as admin:
            for sentence in admin.explain(file):
                say(sentence)


@click.command()
@click.argument("files", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All quarantined files.")
@ROOT
@STATE
def retry(files: tuple[str, ...], everything: bool, root: Path | None, state: Path | None) -> None:
    """Try quarantined or waiting FILES again now."""
    if bool(files) == everything:
        raise click.UsageError("name files, or give --all")
    for file in files or (None,):
        with _admin(_root_of(root, Path(file or ".")), state, None) as admin:
            for job in admin.retry(file):
                say(f"{job.source}: will be tried again")


@click.command()
@click.argument("files", nargs=-1, required=True)
@ROOT
@STATE
def cancel(files: tuple[str, ...], root: Path | None, state: Path | None) -> None:
    """Take FILES out of the queue, or end their work.

    Their mixes go to failed/.
    """
    for file, admin in _each(files, root, state):
        for job in admin.cancel(file):
            say(f"{job.source}: will be cancelled")


@click.command()
@click.argument("files", nargs=-1, required=True)
@ROOT
@STATE
def forget(files: tuple[str, ...], root: Path | None, state: Path | None) -> None:
    """Forget finished FILES, so that they may be done again.

    Deletes no file.
    """
    for file, admin in _each(files, root, state):
        for job in admin.forget(file):
            say(f"{job.source}: forgotten")


@click.command()
@click.argument("root", type=FOLDER, default=Path())
@STATE
@click.option(
    "--reason", default="somebody asked for it", show_default=True, help="What `status` says."
)
def pause(root: Path, state: Path | None, reason: str) -> None:
    """Let the daemons of ROOT begin nothing new."""
    with _admin(_root_of(None, root), state, None) as admin:
        admin.pause(reason)


@click.command()
@click.argument("root", type=FOLDER, default=Path())
@STATE
def resume(root: Path, state: Path | None) -> None:
    """Let the daemons of ROOT go on."""
    with _admin(_root_of(None, root), state, None) as admin:
        admin.resume()
