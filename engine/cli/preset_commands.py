"""The commands about chains: `process`, and the groups `preset` and `plugin`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from presets import StemwrightError, complain, say, say_json

from .arguments import JSON, NATURAL, Renamed, output

if TYPE_CHECKING:
    from ..stems.wet import WetReport

COUNT = click.IntRange(min=1)


@click.command()
@click.argument("stems", nargs=-1, required=True, metavar="STEM...")
@click.option("--preset", default="default", show_default=True, help="Name or YAML file.")
@output("New folder for the wet files.", required=True)
@click.option("--watch-preset", is_flag=True, help="Render again whenever the preset is saved.")
@click.option("--seed", type=NATURAL, default=0, show_default=True, help="For dither.")
def process(
    stems: tuple[str, ...], preset: str, output: Path, watch_preset: bool, seed: int
) -> None:
    """Send stems from anywhere through a preset's chains.

    Which stem a file is, its name tells (song_drums.wav), or DRUMS=FILE does.
    """
    import threading

    from presets import load_preset

    from ..plugins.rack import PluginRack
    from ..processing import assign_stems, process_stems, saved_presets

    if not watch_preset:
        found = load_preset(preset)
        with PluginRack(timeout_s=found.plugin_timeout_s) as rack:
            report = process_stems(assign_stems(stems, found), found, output, rack, seed=seed)
        _say_processed(output, report)
        return
    wait = threading.Event()  # never set: ^C ends the watch
    with PluginRack() as rack:
        for saved in saved_presets(preset, lambda: not wait.wait(0.5)):
            try:
                if isinstance(saved, StemwrightError):
                    raise saved
                rack.timeout_s = saved.plugin_timeout_s
                files = assign_stems(stems, saved)
                report = process_stems(files, saved, output, rack, replace=True, seed=seed)
                _say_processed(output, report)
            except StemwrightError as error:  # the engineer mends it and saves again
                _complain_of(error)


def _say_processed(output: Path, report: WetReport) -> None:
    from ..stems.wet_stem import left_out

    for sentence in left_out(report.chains):
        complain(f"left out: {sentence}")
    say(f"{output}: {len(report.files)} files, gain {report.gain_db:+.2f} dB")


def _complain_of(error: StemwrightError) -> None:
    """Its lines begin with file, line and column, which editors understand."""
    for line in error.lines:
        complain(line)


@click.group(name="preset")
def preset() -> None:
    """Look at presets and check them."""


@preset.command(name="list")
def preset_list() -> None:
    """List every preset that has a name."""
    from presets import load_preset, preset_names

    for name in preset_names():
        say(f"{name:<16} {load_preset(name).title}")


@preset.command(name="show")
@click.argument("name")
def preset_show(name: str) -> None:
    """Print a preset with nothing left out: inherited, defaults."""
    from presets import load_preset, show

    for line in show(load_preset(name)).splitlines():
        say(line)


@preset.command(name="explain")
@click.argument("name")
def preset_explain(name: str) -> None:
    """Tell what a preset does, step by step."""
    from presets import explain, load_preset

    for line in explain(load_preset(name)):
        say(line)


@preset.command(name="check", cls=Renamed, old_names={"--rate": "--sample-rate"})
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--sample-rate",
    "rate",
    type=COUNT,
    default=44_100,
    show_default=True,
    help="Of the audio to check against.",
)
@click.option(
    "--channels", type=COUNT, default=2, show_default=True, help="Of the audio to check against."
)
def preset_check(files: tuple[str, ...], rate: int, channels: int) -> None:
    """Find every mistake, with its line and column.

    Plug-ins and their parameters are checked, too.
    """
    from presets import load_preset, placed

    from ..plugins.chain import check_chains
    from ..plugins.rack import PluginRack

    failed = False
    for file in files:
        try:
            found = load_preset(file)
            with PluginRack(timeout_s=found.plugin_timeout_s) as rack:
                try:
                    check_chains(found, rate, channels, rack)
                except StemwrightError as error:
                    raise StemwrightError(error.code, placed(file, str(error))) from None
            say(f"{file}: good")
        except StemwrightError as error:
            failed = True
            _complain_of(error)
    if failed:
        sys.exit(1)


@preset.command(name="schema")
def preset_schema() -> None:
    """Print a JSON Schema for editors that complete YAML."""
    from presets import json_schema

    say_json(json_schema(), indent=1)


@click.group(name="plugin")
def plugin() -> None:
    """Look at VST3 and Audio Unit plug-ins."""


@plugin.command(name="list")
def plugin_list() -> None:
    """List every plug-in in the allowed folders; load none."""
    from ..plugins.catalogue import FOLDERS_VARIABLE, PluginCatalogue

    catalogue = PluginCatalogue()
    if not (files := catalogue.files()):
        folders = ", ".join(map(str, catalogue.folders)) or "no folder of plug-ins exists"
        raise StemwrightError(
            "plugin-not-found",
            f"there is no plug-in; looked in {folders}. Name more folders in {FOLDERS_VARIABLE}.",
        )
    for file in files:
        note = "  in quarantine" if catalogue.store.is_quarantined(file) else ""
        say(f"{file.stem:<24} {file}{note}")


@plugin.command(name="inspect")
@click.argument("name")
@JSON
def plugin_inspect(name: str, as_json: bool) -> None:
    """List the parameters that a preset may set, with units."""
    from ..plugins.catalogue import PluginCatalogue

    catalogue = PluginCatalogue()
    file = catalogue.find(name)
    if not catalogue.is_known(file):
        complain(f"stemwright: {file.stem} is loaded for the first time; some take minutes")
    found = catalogue.inspect(file)
    if as_json:
        say_json(found["plugins"], indent=1)
        return
    for plugin in found["plugins"]:
        say(
            f"{plugin['name']} {plugin['version']} ({plugin['maker']}), channels: "
            f"{', '.join(map(str, plugin['channels']))}, latency {plugin['latency']}"
        )
        for key, parameter in plugin["parameters"].items():
            low_high = parameter["range"]
            values = (
                f"{low_high[0]:g} to {low_high[1]:g}"
                if low_high
                else ", ".join(map(str, parameter["values"] or ["true", "false"]))
            )
            say(f"  {key:<24} {values} {parameter['units']} (default {parameter['default']})")


@plugin.command(name="test")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for one answer.",
)
def plugin_test(names: tuple[str, ...], timeout: float) -> None:
    """Try plug-ins out in a process of their own.

    One that passes leaves the quarantine.
    """
    from ..plugins.catalogue import PluginCatalogue
    from ..plugins.trial import try_plugin

    catalogue, failed = PluginCatalogue(), False
    for name in names:
        try:
            for trial in try_plugin(catalogue, catalogue.find(name), timeout):
                verdict = "; ".join(trial.problems) or "passed"
                failed |= bool(trial.problems)
                say(
                    f"{trial.name} {trial.version}: {verdict} (loaded in {trial.load_s:.2f} s, "
                    f"{trial.times_realtime:.0f} x real time, latency "
                    f"{trial.latency_samples}, {len(trial.groups)} instance(s) for stereo)"
                )
        except StemwrightError as error:
            failed = True
            _complain_of(error)
    if failed:
        sys.exit(1)
