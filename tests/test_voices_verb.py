"""Voices end to end: the shipped network, sets that null, presets, sections, the real daemon."""

import base64
import hashlib
import json
import re
import signal

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import stemwright
from engine import (
    Interrupted,
    PitchTracks,
    RenderOptions,
    load_manifest,
    measure_null,
    render,
    separate,
)
from engine.model.hooks import SearchHooks
from engine.voices.fitting import BUNDLE, fit_network
from engine.voices.network import SHIPPED
from hotfolder_fixtures import logs, start_process, wait_for
from presets import Preset, StemwrightError, explain, load_preset
from voice_fixtures import MELODIES, RATE, choir, sung, write_score

SAB = ["soprano", "alto", "bass"]


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """A stereo choir of eight seconds with its score beside it."""
    folder = tmp_path_factory.mktemp("choir")
    audio, _ = choir()
    pair = 0.8 * np.stack([audio, 0.7 * audio], axis=1) / np.abs(audio).max()
    soundfile.write(folder / "song.wav", pair, RATE, subtype="PCM_24")
    write_score(folder / "song.mid")
    return folder / "song.wav"


def preset_of(**voices):
    return Preset.model_validate({"name": "choir", "voices": {"parts": SAB, **voices}})


def run(*words):
    return CliRunner().invoke(stemwright.main, [str(word) for word in words])


def si_sdr(found, true):
    scale = (found @ true) / (true @ true)
    error = found - scale * true
    return 10 * np.log10(scale**2 * (true @ true) / (error @ error))


def test_a_choir_comes_apart_and_the_set_is_the_mix(song, tmp_path):
    done = run("voices", song, "--parts", ",".join(SAB), "-o", tmp_path, "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "pitches midi (song.mid), agreement" in done.output
    manifest = load_manifest(tmp_path / "song")
    assert {file.stem for file in manifest.files} == {*SAB, "residual"}
    stems = sorted((tmp_path / "song" / "dry").iterdir())
    assert measure_null(song, stems).exact
    report = manifest.voices
    assert report["network"]["name"] == "choir" and report["pitches"]["origin"] == "midi"
    assert set(report["pitches"]["files"]) == {"song.mid"}
    assert all(0 < voice["confidence"] <= 1 for voice in report["pitches"]["voices"].values())
    assert (tmp_path / "song" / "voices" / "pitches.png").read_bytes()[:4] == b"\x89PNG"
    assert not (tmp_path / ".voices").exists()


def test_the_listening_page_shows_the_pitches(song, tmp_path):
    set_of = tmp_path / "set"
    preset = Preset.model_validate({
        "name": "choir", "voices": {"parts": SAB}, "output": {"report": "light"},
    })  # fmt: skip
    render(song, set_of, preset, RenderOptions(threads=1))
    page = (set_of / "report.html").read_text("utf-8")
    data = json.loads(re.search(r"window\.SW_DATA = (.*?);</script>", page, re.S)[1])
    shown = data["pitches"]
    assert shown["summary"].startswith("midi (song.mid), agreement ")
    coded = shown["picture"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(coded) == (set_of / "voices" / "pitches.png").read_bytes()
    assert all(f'get("{part}")' in page for part in ("pitch-summary", "pitch-notes"))


def test_every_part_is_nearer_to_its_singer_than_the_mix_is(song):
    audio, _ = choir()
    found = separate(audio[None], RATE, preset_of(pitches="tracker"), RenderOptions(threads=1))
    for number, name in enumerate(SAB):
        true = sung(MELODIES[name], seed=number)[0]
        better = si_sdr(found[name][0], true) - si_sdr(audio.astype(float), true)
        assert better > 1, (name, better)
    assert np.array_equal(sum(found.values()), audio[None].astype(float))


def test_the_same_input_gives_the_same_bytes_also_after_an_interrupt(song, tmp_path):
    once = render(song, tmp_path / "once", preset_of(), RenderOptions(threads=1))
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 2

    options = RenderOptions(threads=1, workspace=tmp_path / "job" / "work")
    with pytest.raises(Interrupted):
        render(song, tmp_path / "again", preset_of(),
               RenderOptions(**{**vars(options), "should_stop": stop}))  # fmt: skip
    again = render(song, tmp_path / "again", preset_of(), options)
    assert [file.sha256 for file in once.files] == [file.sha256 for file in again.files]
    names = ("pitches.f0.json", "pitches.png")
    for name in names:
        one, two = (tmp_path / place / "voices" / name for place in ("once", "again"))
        assert one.read_bytes() == two.read_bytes()


def test_tracks_that_a_set_has_written_give_the_set_again(song, tmp_path):
    first = render(song, tmp_path / "first", preset_of(), RenderOptions(threads=1))
    table = str(tmp_path / "first" / "voices" / "pitches.f0.json")
    options = RenderOptions(threads=1, pitch_files=(table,))
    second = render(song, tmp_path / "second", preset_of(), options)
    assert second.voices["pitches"]["origin"] == "file"
    assert second.voices["pitches"]["agreement"] > 0.4
    for one, two in zip(first.files, second.files, strict=True):
        a, b = (soundfile.read(tmp_path / place / file.path)[0]
                for place, file in (("first", one), ("second", two)))  # fmt: skip
        assert np.abs(a - b).max() < 0.02


def test_voices_of_a_stem_that_priors_find_are_kept_in_its_place(song, tmp_path,
                                                                 tiny_prior_folder):  # fmt: skip
    names = sorted(path.stem for path in tiny_prior_folder.glob("*.prior"))
    preset = Preset.model_validate({
        "name": "both", "stems": {name: {} for name in names},
        "search": {"tier": "draft"}, "voices": {"parts": SAB, "of": names[0]},
    })  # fmt: skip
    options = RenderOptions(threads=1, prior_folders=(tiny_prior_folder,))
    manifest = render(song, tmp_path / "set", preset, options)
    stems = {file.stem for file in manifest.files}
    assert stems == {*names[1:], *SAB, "residual"}
    files = [tmp_path / "set" / file.path for file in manifest.files]
    assert measure_null(song, files).exact
    assert names[0] in manifest.priors and manifest.voices["pitches"]["origin"] == "midi"


def test_silence_gives_silent_parts(tmp_path):
    soundfile.write(tmp_path / "song.wav", np.zeros((RATE, 1)), RATE, subtype="PCM_16")
    manifest = render(tmp_path / "song.wav", tmp_path / "set", preset_of(), RenderOptions())
    assert manifest.voices["pitches"]["origin"] == "silence"
    assert set(SAB) <= set(manifest.absent)


def test_a_score_of_another_song_ends_the_verb_with_a_sentence_and_nothing_made(song, tmp_path):
    rng = np.random.default_rng(5)
    wrong = {name: [int(n) for n in rng.integers(low, low + 13, 20)]
             for name, low in (("soprano", 67), ("alto", 59), ("bass", 42))}  # fmt: skip
    path = write_score(tmp_path / "wrong.mid", wrong, seconds_a_note=0.4)
    done = run("voices", song, "--parts", "soprano,alto,bass", "--midi", path, "-o",
               tmp_path / "out")  # fmt: skip
    assert done.exit_code == 1 and "no agreement with the audio" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--midi", "a.mid", "--f0", "b.csv"], 2, "not both"),
        (["--parts", "soprano,soprano"], 2, "soprano twice"),
        (["--parts", "S O"], 2, "no name of a voice"),
        (["--parts", ","], 2, "no voice is named"),
        (["--preset", "rock"], 1, "preset rock has no voices"),
        (["--f0", "missing.csv"], 1, "missing.csv: No such file"),
        (["--midi", "missing.mid"], 1, "missing.mid: No such file"),
        (["--parts", "a,b,c,d"], 1, "fewer than the 4 asked for"),
    ],
)
def test_what_cannot_be_asked_is_said(song, tmp_path, words, code, says):
    done = run("voices", song, *words, "-o", tmp_path / "out")
    assert done.exit_code == code and says in done.output, done.output
    assert not (tmp_path / "out").exists()


def test_a_fit_without_torch_says_how_to_get_it(song, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.voices.fitting.find_spec", lambda name: None)
    done = run("voices", song, "--fit", "1", "-o", tmp_path / "out")
    assert done.exit_code == 1 and "stemwright[cpu,export]" in done.output


@pytest.mark.slow
def test_a_fit_learns_from_the_recording_and_is_told(song, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.voices.fitting.STEPS_A_MINUTE", 4)
    manifest = render(song, tmp_path / "set", preset_of(fit_minutes=1), RenderOptions(threads=1))
    fitted = manifest.voices["fitted"]
    assert fitted["minutes"] == 1 and fitted["sha256"] != manifest.voices["network"]["sha256"]
    assert manifest.null_dbfs is None


@pytest.mark.slow
def test_a_fit_that_is_killed_goes_on_and_ends_with_the_same_bytes(song, tmp_path, monkeypatch):
    """The child that learns is killed behind its first checkpoint; nothing else remembers."""
    monkeypatch.setattr("engine.voices.fitting.STEPS_A_MINUTE", 12)
    mono = soundfile.read(song, dtype="float32")[0].mean(axis=1)
    frames = len(mono) // 256
    hertz = np.repeat(np.array([[523.0], [175.0]], np.float32), frames, axis=1)
    tracks = PitchTracks(("high", "low"), hertz, 0.016, np.ones_like(hertz), "file")
    heard = []

    def fitted(folder, should_stop):
        hooks = SearchHooks(lambda done, of: heard.append(done), should_stop)
        return fit_network(
            mono, tracks, tmp_path / folder, SHIPPED, minutes=1, seed=0, hooks=hooks
        )

    with pytest.raises(Interrupted):
        fitted("killed", lambda: bool(heard))
    assert heard == [10]
    assert not (tmp_path / "killed" / BUNDLE).exists()
    again = fitted("killed", lambda: False)
    assert heard == [10, 12], "it goes on where it was"
    assert again.read_bytes() == fitted("once", lambda: False).read_bytes()


# -- the section ---------------------------------------------------------------------------------


def test_parts_are_stems_without_priors_and_a_preset_without_voices_keeps_its_digest():
    preset = preset_of()
    assert (
        tuple(preset.stems) == tuple(SAB)
        and preset.sources.searched == ()
        and preset.sources.parts == tuple(SAB)
    )
    assert "voice of the mix" in "\n".join(explain(preset))
    dry = load_preset("dry")
    assert dry.voices is None and "voices" in dry.model_dump()
    assert preset.digest() != preset_of(pitches="score").digest()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("voices: {parts: [a], pitches: midi}\n", "choir.yaml:1:31: voices.pitches: must be one"),
        ("voices: {parts: [a, a]}\n", "choir.yaml:1:10: voices.parts: a twice"),
        ("voices: {parts: []}\n", "choir.yaml:1:17: voices.parts:"),
        ("voices: {parts: [a], of: b}\n", "voices.of: no stem 'b' among none"),
        ("stems: {b: {}}\nvoices: {parts: [a]}\n", "choir.yaml:2:1: voices: of is missing"),
        ("stems: {a: {prior: x}}\nvoices: {parts: [a]}\n", "voices.parts: a has a prior"),
        ("voices: {part: [a]}\n", "choir.yaml:1:10: voices.part: no such key (did you mean"),
        ("stems: {b: {}}\nvoices: {parts: [a], of: b}\nresidual: {into: b}\n", "voices.of: b is"),
    ],
)
def test_a_wrong_section_is_told_with_line_and_column(tmp_path, text, says):
    path = tmp_path / "choir.yaml"
    path.write_text(text)
    with pytest.raises(StemwrightError) as caught:
        load_preset(path)
    assert says in str(caught.value)


def test_a_network_that_is_not_there_is_named(song, tmp_path):
    with pytest.raises(StemwrightError, match=r"voices\.network: no bundle is called 'missing'"):
        render(song, tmp_path / "set", preset_of(network="missing"), RenderOptions())


# -- the hot folder ------------------------------------------------------------------------------


def test_a_choir_and_its_score_go_through_a_daemon_that_is_killed(song, tmp_path):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "choir.yaml").write_text(
        "voices: {parts: [soprano, alto, bass], pitches: score}\n"
    )
    inbox = tmp_path / "root" / "inbox" / "choir"
    inbox.mkdir(parents=True)
    for name in ("song.wav", "song.mid"):
        (inbox / name).write_bytes(song.with_name(name).read_bytes())
    settings = {"scan_s": 0.2, "settle_s": 0.3, "worker": {"threads": 1},
                "retry": {"first_s": 0.5, "longest_s": 2}}  # fmt: skip
    env = {"STEMWRIGHT_PRESETS": str(tmp_path / "presets"), "OMP_NUM_THREADS": "1"}
    daemon = start_process(tmp_path, settings=settings, env=env, backend="engine")
    wait_for(lambda: '"decoded"' in logs(tmp_path), 60)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    daemon = start_process(tmp_path, settings=settings, env=env, backend="engine")
    manifest = tmp_path / "root" / "outbox" / "choir" / "song" / "manifest.json"
    wait_for(manifest.exists, 90)
    wait_for(lambda: filed(tmp_path / "root" / "done") == ["song.mid", "song.wav"], 30)
    daemon.terminate()
    daemon.wait()
    pitches = json.loads(manifest.read_text())["voices"]["pitches"]
    assert pitches["origin"] == "midi"
    content = song.with_suffix(".mid").read_bytes()
    assert pitches["files"]["song.mid"] == hashlib.sha256(content).hexdigest()


def test_a_batch_takes_scores_and_does_a_row_again_when_its_score_changes(song, tmp_path):
    place = tmp_path / "mixes"
    place.mkdir()
    for name in ("song.wav", "song.mid"):
        (place / name).write_bytes(song.with_name(name).read_bytes())
    (tmp_path / "trio.yaml").write_text("voices: {parts: [soprano, alto, bass]}\n")
    words = ["batch", place, "-o", tmp_path / "out", "--preset", tmp_path / "trio.yaml",
             "--jobs", 1, "--threads", 1, "--state", tmp_path / "state"]  # fmt: skip
    other = {**MELODIES, "bass": [*MELODIES["bass"][:-1], 50]}
    for melodies in (MELODIES, MELODIES, other):
        write_score(place / "song.mid", melodies)
        done = run(*words)
        assert done.exit_code == 0, done.output
    sets = [load_manifest(tmp_path / "out" / name) for name in ("song", "song-2")]
    hashes = [one.voices["pitches"]["files"]["song.mid"] for one in sets]
    assert hashes[0] != hashes[1] == hashlib.sha256((place / "song.mid").read_bytes()).hexdigest()
    assert not (tmp_path / "out" / "song-3").exists(), "nothing is done twice"


def filed(folder):
    return sorted(path.name for path in folder.rglob("[!.]*") if path.is_file())
