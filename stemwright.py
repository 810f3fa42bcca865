"""The command line of Stemwright: exit codes, and the commands of all rooms under one name.

The rooms bring their own commands, which open modules when they are called and not before.

Exit codes: 0 done, 1 something the user can mend (one sentence says what), 2 wrong usage,
130 interrupted, 3 a bug of ours (a log is written).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import click

from engine import ENGINE_VERSION
from engine.cli.endings import MENDABLE, tell_ending
from engine.cli.mix_commands import doctor, null, separate
from engine.cli.preset_commands import plugin, preset, process
from engine.cli.prior_commands import prior
from engine.cli.report_command import report
from engine.cli.separator_commands import separator
from engine.cli.session_command import session
from engine.cli.voices_command import voices
from engine.stems.publish import forget_published
from export.cli import PRIOR_VERBS, SEPARATOR_VERBS
from hotfolder.cli.catalogue_commands import batch, verify
from hotfolder.cli.folder_commands import (
    cancel,
    dashboard,
    explain,
    forget,
    pause,
    resume,
    retry,
    status,
    watch,
)
from presets import PrintableLines, is_loss, printable, speaking

SUMMARY_WIDTH = 62  # what is left of 80 columns beside the longest verb
# Their work is on the disk, and their exit code says how it went: a report that nobody could read
# takes nothing from it. What all others do is to print.
WORKING = (
    "separate",
    "voices",
    "process",
    "report",
    "session",
    "watch",
    "batch",
    "prior",
    "separator",
)


@contextlib.contextmanager
def _printable_usage() -> Iterator[None]:
    """What click says of wrong words repeats them."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # that is the help text, of many lines
        raise
    except click.UsageError as error:
        raise click.UsageError(printable(error.format_message()), error.ctx) from error


class Program(click.Group):
    """Turns exceptions into sentences and exit codes."""

    verb = ""

    def main(self, *args: Any, **attributes: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the program with outputs that cannot fail it."""
        with speaking() as results:
            try:
                return super().main(*args, **attributes)
            except SystemExit as ended:
                if not ended.code and is_loss(results) and self.verb not in WORKING:
                    raise SystemExit(MENDABLE) from None
                raise

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run a verb."""
        forget_published()
        try:
            with _printable_usage():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            ctx.exit(tell_ending(error))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by what they are about."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(str(verb.name), verb.get_short_help_str(SUMMARY_WIDTH)) for verb in commands]
                )

    def make_context(self, *args: Any, **attributes: Any) -> click.Context:  # noqa: ANN401 - click's
        """Parse the words before the verb."""
        with _printable_usage():
            return super().make_context(*args, **attributes)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb, remembered."""
        found = super().resolve_command(ctx, args)
        self.verb = found[0] or ""
        return found


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ENGINE_VERSION, prog_name="stemwright")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def main(verbose: bool) -> None:
    """Separate finished mixes into stems with priors learned from isolated recordings."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableLines(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


SECTIONS = {
    "Mixes and sets": (separate, voices, batch, process, null, verify, report, session),
    "The hot folder": (
        *(watch, dashboard, status, explain),
        *(retry, cancel, forget, pause, resume),
    ),
    "Presets, priors, the installation": (preset, plugin, prior, separator, doctor),
}
for command in itertools.chain(*SECTIONS.values()):
    main.add_command(command)
for command in PRIOR_VERBS:
    prior.add_command(command)
for command in SEPARATOR_VERBS:
    separator.add_command(command)


if __name__ == "__main__":
    main(prog_name="stemwright")
