"""What the arguments of several verbs of the hot folder have in common."""

from __future__ import annotations

import click

from engine.cli import FILE, FOLDER

ROOT = click.option("--root", type=FOLDER, help="The hot folder, if FILE does not lie in it.")
STATE = click.option("--state", type=FOLDER, help="Folder of the journal, on a local disk.")
CONFIG = click.option("--config", type=FILE, help="Settings of the hot folder (YAML).")
