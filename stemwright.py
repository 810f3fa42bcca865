"""The command line of Stemwright: every verb opens its room when it is called, not before.

Exit codes: 0 done, 1 something the user can mend (one sentence says what), 2 wrong usage,
130 interrupted, 3 a bug of ours (a log is written).
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine import ENGINE_VERSION
from presets import StemwrightError

if TYPE_CHECKING:
    from hotfolder import Enquiry

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)


class Program(click.Group):
    """Turns exceptions into sentences and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except StemwrightError as error:
            click.echo(f"stemwright: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("stemwright: interrupted", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise
        except Exception as error:
            log = _bug_report()
            click.echo(
                f"stemwright: a bug of ours: {type(error).__name__}: {error}. Nothing was "
                f"published; please report it with {log}.",
                err=True,
            )
            ctx.exit(3)


def _bug_report() -> Path:
    """Leave the traceback where it can be pasted from."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="stemwright-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"stemwright {ENGINE_VERSION}\n{sys.argv!r}\n{traceback.format_exc()}")
    return Path(file.name)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ENGINE_VERSION, prog_name="stemwright")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def main(verbose: bool) -> None:
    """Separate finished mixes into stems with priors learned from isolated recordings."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING)


@main.command()
@click.argument("mixes", nargs=-1, required=True, type=FILE)
@click.option("-o", "--output", type=FOLDER, default=Path("stems"), show_default=True)
@click.option("--preset", default="default", show_default=True, help="Name or YAML file.")
@click.option("--tier", type=click.Choice(["draft", "standard", "best"]), help="Search effort.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda[:N], ...")
@click.option("--strict-device", is_flag=True, help="Fail rather than fall back to the CPU.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=0, help="0 is all cores.")
@click.option("--priors", multiple=True, type=FOLDER, help="Another folder with priors.")
@click.option(
    "--deadline", type=float, metavar="SECONDS", help="Per mix: the best by then, marked degraded."
)
@click.option("--json", "as_json", is_flag=True, help="Print manifests as JSON lines.")
def separate(
    mixes: tuple[Path, ...],
    output: Path,
    preset: str,
    tier: str | None,
    device: str,
    strict_device: bool,
    seed: int,
    threads: int,
    priors: tuple[Path, ...],
    deadline: float | None,
    as_json: bool,
) -> None:
    """Separate MIXES into OUTPUT/<title>/dry/*.wav with a manifest."""
    from engine import Renderer, RenderOptions
    from engine.terminal import Screen
    from presets import load_preset

    options = RenderOptions(
        device=device,
        strict_device=strict_device,
        seed=seed,
        tier=tier,
        threads=threads,
        prior_folders=priors,
        deadline_s=deadline,
    )
    screen = Screen(quiet=as_json)
    renderer = Renderer(load_preset(preset), options)
    failed = 0
    for mix in mixes:
        try:
            with screen.progress(mix) as progress:
                folder, manifest = renderer.render_into(mix, output, progress)
        except StemwrightError as error:
            click.echo(f"stemwright: {error}", err=True)
            failed += 1
            continue
        if as_json:
            click.echo(json.dumps({"folder": str(folder), **manifest.model_dump(mode="json")}))
        else:
            screen.show(folder, manifest)
    if failed:
        sys.exit(1)


@main.command()
@click.option("--device", default="auto", show_default=True)
@click.option("-o", "--output", type=FOLDER, default=Path("stems"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def doctor(device: str, output: Path, as_json: bool) -> None:
    """Tell what is installed, which device a session really gets, folders and free space."""
    from engine import examine

    facts = examine(device, output)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        from engine.terminal import Screen

        Screen().show_facts(facts)
    if facts["problems"]:
        sys.exit(1)


@main.group()
def prior() -> None:
    """List, check, train and export priors."""


@prior.command("list")
@click.option("--json", "as_json", is_flag=True)
def prior_list(as_json: bool) -> None:
    """Every prior that presets can name, and where it lies."""
    from engine import list_priors, read_bundle

    for name, path in list_priors().items():
        card, _, sha256 = read_bundle(path)
        about = {"name": name, "stem": card.stem, "path": str(path), "sha256": sha256}
        if as_json:
            click.echo(json.dumps({**about, "labels": card.labels}))
        else:
            labels = f"  ({', '.join(card.labels)})" if card.labels else ""
            click.echo(f"{name:12} {card.parameters / 1e6:5.2f} M  {sha256[:12]}  {path}{labels}")


@prior.command("show")
@click.argument("name")
def prior_show(name: str) -> None:
    """Print a prior's card: data, licences, training, hashes."""
    from engine import find_prior, read_bundle

    click.echo(read_bundle(find_prior(name))[0].model_dump_json(indent=1))


@prior.command("verify")
@click.argument("names", nargs=-1)
@click.option("--device", default="auto", show_default=True)
def prior_verify(names: tuple[str, ...], device: str) -> None:
    """Check hashes and run the self-tests of priors (all of them by default)."""
    from engine import Device, Prior, find_prior, list_priors

    for name in names or list_priors():
        opened = Prior(find_prior(name), Device.parse(device))
        opened.verify()
        labels = f" for {', '.join(opened.card.labels)}" if opened.card.labels else ""
        click.echo(f"{name}: hashes and self-tests pass{labels} on {opened.got}")


@prior.command("train")
@click.option("--stem", help="The instrument's name.")
@click.option("--music", is_flag=True, help="One flow for several stems, given as STEM=FOLDER.")
@click.argument("recordings", nargs=-1, required=True, type=FILE)
@click.option("--out", type=FOLDER, help="Folder of the run; resumes there.  [runs/STEM]")
@click.option("--against", multiple=True, type=FILE, help="STEM=FOLDER of other instruments.")
@click.option("--head/--no-head", default=True, help="Train a head for first estimates, too.")
@click.option("--head-steps", type=click.IntRange(1), default=3000, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=4000, show_default=True)
@click.option("--size", type=click.Choice(["cpu", "paper"]), default="cpu", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=0, help="0 is all cores.")
def prior_train(
    stem: str | None,
    music: bool,
    recordings: tuple[Path, ...],
    out: Path | None,
    against: tuple[Path, ...],
    head: bool,
    head_steps: int,
    steps: int,
    size: str,
    seed: int,
    threads: int,
) -> None:
    """Train a prior from RECORDINGS (files or folders) of one instrument alone.

    First its flow, then its head for first estimates on the encoder that the installed priors
    share; between them the verdict: which installed priors it tells itself from. Where no
    recordings of other instruments are given, samples of the installed priors stand in.

    With --music one flow learns several stems, each by its label (MusicGlow): RECORDINGS are
    STEM=FOLDER then, every stem is trained against the others, and there is no head.
    """
    from export import train_music, train_prior

    if music == (stem is not None) or (music and against):
        raise click.UsageError("give --stem NAME, or --music with STEM=FOLDER of every stem")
    name = stem or "musicglow"
    run = out or Path("runs") / name
    if stem is None:
        lines = train_music(recordings, run, steps, size, seed, threads)
    else:
        last = head_steps if head else 0
        lines = train_prior(stem, recordings, run, against, steps, size, seed, threads, last)
    for line in lines:
        click.echo(line)
    click.echo(f"now: stemwright prior export {run} --out PRIORS/{name}.prior")


@prior.command("export")
@click.argument("run", type=FOLDER)
@click.option("--out", required=True, type=FILE, help="The bundle, e.g. bass.prior.")
@click.option("--heads", type=FOLDER, help="Run of `prior heads` with a head for this stem.")
def prior_export(run: Path, out: Path, heads: Path | None) -> None:
    """Write a run's last checkpoint as a bundle, after comparing ONNX Runtime with torch."""
    from export import export_prior

    click.echo(export_prior(run, out, heads))


@prior.command("heads")
@click.argument("parts", nargs=-1, required=True, type=FILE)
@click.option("--head", "heads", multiple=True, help="HEAD=PART+PART, e.g. other=guitar+piano.")
@click.option("--out", required=True, type=FOLDER, help="Folder of the run; resumes there.")
@click.option("--steps", type=click.IntRange(1), default=5000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=0, help="0 is all cores.")
def prior_heads(
    parts: tuple[Path, ...],
    heads: tuple[str, ...],
    out: Path,
    steps: int,
    seed: int,
    threads: int,
) -> None:
    """Train first estimates from PART=FOLDER of isolated recordings: encoder and heads."""
    from export import train_heads

    for line in train_heads(parts, heads, out, steps, seed, threads):
        click.echo(line)


@prior.command("make")
@click.argument("recipe", type=FILE)
@click.option("--recordings", multiple=True, required=True, type=FOLDER, help="May repeat.")
@click.option("--soundfont", "soundfonts", multiple=True, type=FILE, help="To render through.")
@click.option("--out", required=True, type=FOLDER, help="Folder of all runs; resumes there.")
@click.option("--priors", required=True, type=FOLDER, help="Where the bundles go.")
@click.option("--threads", type=int, default=0, help="0 is all cores.")
def prior_make(
    recipe: Path,
    recordings: tuple[Path, ...],
    soundfonts: tuple[Path, ...],
    out: Path,
    priors: Path,
    threads: int,
) -> None:
    """Make the whole set of priors of RECIPE: render, train, export, judge."""
    from export import make_priors

    for line in make_priors(recipe, recordings, soundfonts, out, priors, threads):
        click.echo(line)


@prior.command("judge")
@click.argument("places", nargs=-1, required=True, metavar="STEM=FOLDER...")
@click.option("--priors", multiple=True, type=FOLDER, help="Another folder with priors.")
@click.option("--bundle", help="Judge the labels of this one, not the stems' own priors.")
@click.option("--picture", type=FILE, help="Write the table as a PNG heat map.")
@click.option("--store", is_flag=True, help="Write every prior's row into its card.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def prior_judge(
    places: tuple[str, ...],
    priors: tuple[Path, ...],
    bundle: str | None,
    picture: Path | None,
    store: bool,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Compare priors on held-out recordings: each must win its own instrument's audio.

    STEM=FOLDER names a prior, or a label of --bundle, and recordings of its instrument alone
    that no training heard. Exits with 1 when a prior is not good.
    """
    from engine import Device, held_out, judge_priors, judgement_png, open_priors, store_row

    recordings = held_out(places)
    wanted = {stem: (bundle, stem) if bundle else (stem, "") for stem in recordings}
    opened = open_priors(wanted, priors, Device.parse(device))
    judgement = judge_priors(opened, recordings, seed)
    if picture:
        picture.write_bytes(judgement_png(judgement))
    if store:
        for stem, judged in opened.items():
            store_row(judged.path, judgement.row(stem), judged.label)
    if as_json:
        click.echo(json.dumps(judgement.to_dict(), indent=1))
    else:
        for line in judgement.lines():
            click.echo(line)
    if not all(judgement.good(stem) for stem in judgement.stems):
        sys.exit(1)


@prior.command("sample")
@click.argument("name")
@click.option("-o", "--output", required=True, type=FILE, help="A .wav or .flac file.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=6.0, show_default=True)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.7, show_default=True)
@click.option("--label", help="Which instrument, in a bundle with labels.")
@click.option("--priors", multiple=True, type=FOLDER, help="Another folder with priors.")
@click.option("--seed", type=int, default=0, show_default=True)
def prior_sample(
    name: str,
    output: Path,
    seconds: float,
    temperature: float,
    label: str | None,
    priors: tuple[Path, ...],
    seed: int,
) -> None:
    """Let a prior play: draw latents, decode magnitudes, find phases by Griffin-Lim."""
    from engine import Device, Prior, find_prior, write_sample

    opened = Prior(find_prior(name, priors), Device.parse("cpu"), label)
    write_sample(opened, output, seconds, temperature, seed)
    click.echo(f"{output}: {seconds:g} s of {opened.stem}")


@prior.command("render")
@click.argument("out", type=FOLDER)
@click.option("--stem", required=True, help="bass, drums, guitar, piano or other.")
@click.option("--minutes", type=click.FloatRange(min=0.1), required=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--soundfont", "soundfonts", type=FILE, multiple=True, required=True)
def prior_render(
    out: Path, stem: str, minutes: float, seed: int, soundfonts: tuple[Path, ...]
) -> None:
    """Compose parts at random and play them through SoundFonts: training recordings in OUT."""
    from export.midi_render import render_corpus

    written = render_corpus(out, stem, minutes, seed, soundfonts)
    click.echo(f"{len(written)} recordings in {out}")


@main.command("null")
@click.argument("mix", type=FILE)
@click.argument("stems", nargs=-1, required=True, type=FILE)
@click.option(
    "--gain-db", default=0.0, help="Gain to undo first (undo_db of a set with a common gain)."
)
@click.option("--limit-dbfs", type=float, help="Exit with 1 when the difference peaks above this.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def null_command(
    mix: Path, stems: tuple[Path, ...], gain_db: float, limit_dbfs: float | None, as_json: bool
) -> None:
    """Add up STEMS, subtract them from MIX and say what is left: ours or any other program's."""
    from engine import measure_null

    report = measure_null(mix, stems, gain_db)
    if as_json:
        # -inf is no JSON: null means "nothing left"
        click.echo(
            json.dumps(
                {
                    "null_dbfs": report.null_dbfs if not report.exact else None,
                    "rms_dbfs": report.rms_dbfs if not report.exact else None,
                    "peak_frame": report.peak_frame,
                    "frames": report.frames,
                    "exact": report.exact,
                    "exact_at_bits": report.exact_at_bits,
                }
            )
        )
    elif report.exact:
        click.echo(f"exact: {len(stems)} stems sum to {mix.name} in all {report.frames} frames")
    else:
        click.echo(
            f"difference: peak {report.null_dbfs:.2f} dBFS at frame {report.peak_frame}, "
            f"rms {report.rms_dbfs:.2f} dBFS"
        )
        if report.exact_at_bits:
            click.echo(
                f"exact at {report.exact_at_bits} bits: the sum is the mix rounded to that depth"
            )
    if limit_dbfs is not None and report.null_dbfs > limit_dbfs:
        raise SystemExit(1)


ROOT = click.option("--root", type=FOLDER, help="The hot folder, if FILE does not lie in it.")
STATE = click.option("--state", type=FOLDER, help="Folder of the journal, on a local disk.")
CONFIG = click.option("--config", type=FILE, help="Settings of the hot folder (YAML).")


def _enquiry(root: Path, state: Path | None, config: Path | None) -> Enquiry:
    """One hot folder, for questions; `Enquiry` is imported under TYPE_CHECKING."""
    from hotfolder import Enquiry, HotFolderSettings, load_settings, state_folder

    settings = load_settings(config) if config else HotFolderSettings()
    return Enquiry(root, state_folder(root, state), settings)


def _root_of(root: Path | None, path: Path) -> Path:
    from hotfolder import find_root

    return root or find_root(path)


@main.command()
@click.argument("root", type=FOLDER)
@CONFIG
@STATE
@click.option("--once", is_flag=True, help="End when nothing is left to do.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done; change nothing.")
@click.option("--adopt", is_flag=True, help="Accept folders that were replaced on purpose.")
def watch(
    root: Path, config: Path | None, state: Path | None, once: bool, dry_run: bool, adopt: bool
) -> None:
    """Watch ROOT/inbox: every mix dropped there becomes a set of stems in ROOT/outbox."""
    from hotfolder import Daemon, HotFolderSettings, load_settings, log_to, preview, state_folder

    settings = load_settings(config) if config else HotFolderSettings()
    if dry_run:
        for line in preview(root, settings):
            click.echo(line)
        return
    log_to(sys.stderr)
    daemon = Daemon(root, state_folder(root, state), settings, settings_file=config, adopt=adopt)
    try:
        failed = daemon.run(once=once)
    finally:
        daemon.close()
    sys.exit(failed)


@main.command()
@click.argument("root", type=FOLDER, default=Path())
@STATE
@CONFIG
@click.option("--json", "as_json", is_flag=True)
def status(root: Path, state: Path | None, config: Path | None, as_json: bool) -> None:
    """Tell what a hot folder does: counts, work, waits, failures."""
    enquiry = _enquiry(_root_of(None, root), state, config)
    if as_json:
        click.echo(json.dumps(enquiry.status()))
    else:
        for line in enquiry.status_lines():
            click.echo(line)
    enquiry.close()


@main.command()
@click.argument("files", nargs=-1, required=True)
@ROOT
@STATE
@CONFIG
def explain(
    files: tuple[str, ...], root: Path | None, state: Path | None, config: Path | None
) -> None:
    """Say why each of FILES is where it is: waiting, queued, in work, done, quarantined."""
    for file in files:
        enquiry = _enquiry(_root_of(root, Path(file)), state, config)
        for sentence in enquiry.explain(file):
            click.echo(sentence)
        enquiry.close()


@main.command()
@click.argument("files", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All quarantined files.")
@ROOT
@STATE
def retry(files: tuple[str, ...], everything: bool, root: Path | None, state: Path | None) -> None:
    """Try quarantined or waiting FILES again now."""
    if bool(files) == everything:
        raise click.UsageError("name files, or give --all")
    for file in files or (None,):
        enquiry = _enquiry(_root_of(root, Path(file or ".")), state, None)
        for job in enquiry.retry(file):
            click.echo(f"{job.source}: will be tried again")
        enquiry.close()


@main.command()
@click.argument("files", nargs=-1, required=True)
@ROOT
@STATE
def forget(files: tuple[str, ...], root: Path | None, state: Path | None) -> None:
    """Forget finished FILES, so that the same mix is done again. Deletes no file."""
    for file in files:
        enquiry = _enquiry(_root_of(root, Path(file)), state, None)
        for job in enquiry.forget(file):
            click.echo(f"{job.source}: forgotten")
        enquiry.close()


@main.command()
@click.argument("root", type=FOLDER, default=Path())
@STATE
@click.option("--reason", default="somebody asked for it", show_default=True)
def pause(root: Path, state: Path | None, reason: str) -> None:
    """Let the daemons of ROOT finish what they have, and begin nothing."""
    enquiry = _enquiry(_root_of(None, root), state, None)
    enquiry.pause(reason)
    enquiry.close()


@main.command()
@click.argument("root", type=FOLDER, default=Path())
@STATE
def resume(root: Path, state: Path | None) -> None:
    """Let the daemons of ROOT go on."""
    enquiry = _enquiry(_root_of(None, root), state, None)
    enquiry.resume()
    enquiry.close()


@main.command()
@click.argument("stems", nargs=-1, required=True, metavar="STEM...")
@click.option("--preset", default="default", show_default=True, help="Name or YAML file.")
@click.option("--output", type=FOLDER, required=True, help="New folder for the wet files.")
@click.option("--watch-preset", is_flag=True, help="Render again whenever the preset is saved.")
@click.option("--seed", default=0, show_default=True, help="For dither.")
def process(
    stems: tuple[str, ...], preset: str, output: Path, watch_preset: bool, seed: int
) -> None:
    """Send stems from anywhere through a preset's chains.

    Which stem a file is, its name tells (song_drums.wav), or DRUMS=FILE does.
    """
    import threading

    from engine import PluginRack, assign_stems, process_stems, saved_presets
    from presets import load_preset

    if not watch_preset:
        found = load_preset(preset)
        with PluginRack(timeout_s=found.plugin_timeout_s) as rack:
            report = process_stems(assign_stems(stems, found), found, output, rack, seed=seed)
        click.echo(f"{output}: {len(report.files)} files, gain {report.gain_db:+.2f} dB")
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
                click.echo(f"{output}: {len(report.files)} files, gain {report.gain_db:+.2f} dB")
            except StemwrightError as error:  # the engineer mends it and saves again
                click.echo(str(error), err=True)


@main.group(name="preset")
def preset_group() -> None:
    """Look at presets and check them."""


@preset_group.command(name="list")
def preset_list() -> None:
    """Every preset that has a name."""
    from presets import load_preset, preset_names

    for name in preset_names():
        click.echo(f"{name:<16} {load_preset(name).title}")


@preset_group.command(name="show")
@click.argument("name")
def preset_show(name: str) -> None:
    """A preset with everything inherited and every default written out."""
    from presets import load_preset, show

    click.echo(show(load_preset(name)), nl=False)


@preset_group.command(name="explain")
@click.argument("name")
def preset_explain(name: str) -> None:
    """What a preset does, step by step."""
    from presets import explain, load_preset

    click.echo(explain(load_preset(name)), nl=False)


@preset_group.command(name="check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--rate", default=44_100, show_default=True, help="Sample rate to check against.")
@click.option("--channels", default=2, show_default=True)
def preset_check(files: tuple[str, ...], rate: int, channels: int) -> None:
    """Every mistake with its line and column; plug-ins and their parameters too."""
    from engine import PluginRack, check_chains
    from presets import load_preset, placed

    failed = False
    for file in files:
        try:
            preset = load_preset(file)
            with PluginRack(timeout_s=preset.plugin_timeout_s) as rack:
                try:
                    check_chains(preset, rate, channels, rack)
                except StemwrightError as error:
                    raise StemwrightError(error.code, placed(file, str(error))) from None
            click.echo(f"{file}: good")
        except StemwrightError as error:
            failed = True
            click.echo(str(error), err=True)
    if failed:
        raise SystemExit(1)


@preset_group.command(name="schema")
def preset_schema() -> None:
    """JSON Schema for editors that complete YAML."""
    from presets import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


@main.group(name="plugin")
def plugin_group() -> None:
    """Look at VST3 and Audio Unit plug-ins."""


@plugin_group.command(name="list")
def plugin_list() -> None:
    """Every plug-in in the allowed folders; nothing is loaded."""
    from engine import PluginCatalogue

    catalogue = PluginCatalogue()
    for file in catalogue.files():
        note = "  in quarantine" if catalogue.store.is_quarantined(file) else ""
        click.echo(f"{file.stem:<24} {file}{note}")


@plugin_group.command(name="inspect")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
def plugin_inspect(name: str, as_json: bool) -> None:
    """The parameters that a preset may set, with ranges and units."""
    from engine import PluginCatalogue

    catalogue = PluginCatalogue()
    found = catalogue.inspect(catalogue.find(name))
    if as_json:
        click.echo(json.dumps(found["plugins"], indent=1))
        return
    for plugin in found["plugins"]:
        click.echo(
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
            click.echo(
                f"  {key:<24} {values} {parameter['units']} (default {parameter['default']})"
            )


@plugin_group.command(name="test")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds for one answer.")
def plugin_test(names: tuple[str, ...], timeout: float) -> None:
    """Try plug-ins out in a process of their own; one that passes leaves the quarantine."""
    from engine import PluginCatalogue, try_plugin

    catalogue, failed = PluginCatalogue(), False
    for name in names:
        try:
            for trial in try_plugin(catalogue, catalogue.find(name), timeout):
                verdict = "; ".join(trial.problems) or "passed"
                failed |= bool(trial.problems)
                click.echo(
                    f"{trial.name} {trial.version}: {verdict} (loaded in {trial.load_s:.2f} s, "
                    f"{trial.times_realtime:.0f} x real time, latency "
                    f"{trial.latency_samples}, {len(trial.groups)} instance(s) for stereo)"
                )
        except StemwrightError as error:
            failed = True
            click.echo(str(error), err=True)
    if failed:
        raise SystemExit(1)


@main.command()
@click.argument("catalogue")
@click.option("-o", "--output", type=FOLDER, required=True)
@click.option("--preset", default="default", show_default=True, help="For rows that name none.")
@click.option("--tier", type=click.Choice(["draft", "standard", "best"]))
@click.option("--jobs", type=int, default=0, help="Workers; 0 measures cores and memory.")
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--priors", multiple=True, type=FOLDER, help="Another folder with priors.")
@click.option("--cluster", help="tcp://scheduler:8786, or local:N.")
@click.option("--gpu", is_flag=True, help="Give jobs to workers with --resources GPU=1 only.")
@click.option("--retry-failed", is_flag=True, help="Try rows again that failed before.")
@click.option("--strict", is_flag=True, help="Begin nothing when any row is wrong.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and for how long.")
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines.")
@STATE
def batch(
    catalogue: str, output: Path, preset: str, tier: str | None, jobs: int, device: str, seed: int,
    priors: tuple[Path, ...], cluster: str | None, gpu: bool, retry_failed: bool, strict: bool,
    dry_run: bool, as_json: bool, state: Path | None,
) -> None:  # fmt: skip
    """Separate a CATALOGUE (folder, glob, CSV or JSONL) into OUTPUT; run again to resume."""
    from hotfolder import (
        Batch,
        BatchScreen,
        Cluster,
        HotFolderSettings,
        WorkerSettings,
        audio_seconds,
        measured_rtf,
        read_catalogue,
        state_folder,
        write_reports,
    )  # fmt: skip
    from hotfolder.clock import Instant

    read = read_catalogue(catalogue, preset)
    for problem in read.problems:
        click.echo(f"stemwright: {problem}", err=True)
    if strict and read.problems:
        raise StemwrightError(
            "catalogue-invalid", f"{catalogue}: {len(read.problems)} rows are wrong."
        )
    worker = WorkerSettings(
        device=device, seed=seed, tier=tier, threads=1 if jobs != 1 else 0,
        prior_folders=tuple(map(str, priors)),
    )  # fmt: skip
    settings = HotFolderSettings(jobs=max(jobs, 1), incomplete_after_s=0, worker=worker)
    run = Batch(
        read, output, state_folder(output.absolute(), state), settings, auto_jobs=jobs == 0
    )
    try:
        if dry_run:
            plan = run.plan()
            seconds = audio_seconds(row.path for row in read.rows) if plan.to_do else 0.0
            minutes = seconds * measured_rtf(preset, settings) / max(jobs, 1) / 60
            click.echo(
                f"{plan.new} new, {plan.changed} changed, {plan.unfinished} unfinished, "
                f"{plan.done} done, {plan.failed} failed before, {len(read.problems)} refused; "
                f"{seconds / 60:.1f} min of audio, at most {minutes:.1f} min with {max(jobs, 1)} "
                "worker(s), measured on this machine"
            )
            return
        run.enter(retry_failed=retry_failed)
        if cluster:
            remote = Cluster(cluster, gpu=gpu)
            remote.check({row.preset for row in read.rows}, "engine", worker.prior_folders)
            finished = remote.run(run)
            remote.close()
        else:
            with BatchScreen(as_json=as_json) as screen:
                finished = run.run(screen.show)
        for path in write_reports(read, run.journal, run.out, Instant.now()):
            click.echo(str(path), err=as_json)
        failed = run.journal.counts()["quarantined"] + len(read.problems)
    finally:
        run.close()
    sys.exit(130 if not finished else 1 if failed else 0)


@main.command()
@click.argument("output", type=FOLDER)
@click.option("--mixes", multiple=True, type=FOLDER, help="Where the mixes are, for the nulls.")
def verify(output: Path, mixes: tuple[Path, ...]) -> None:
    """Prove that all sets in OUTPUT are unchanged and that their stems still null."""
    from hotfolder import mixes_below, verify_sets

    wrong = sets = 0
    for audit in verify_sets(output, mixes_below(list(mixes))):
        sets += 1
        wrong += not audit.is_sound
        verdict = "sound" if audit.is_sound else "; ".join(audit.problems)
        click.echo(f"{audit.folder}: {verdict} (files: {audit.files}, null: {audit.null})")
    click.echo(f"{sets} sets, {wrong} not sound")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(prog_name="stemwright")
