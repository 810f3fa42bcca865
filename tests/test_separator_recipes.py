"""Presets with separators of one's own: trees, ensembles, priors inside; always the exact mix."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import yaml

import separator_toys as toys
from engine import Interrupted, RenderOptions, load_manifest, measure_null, prior_hashes, render
from engine.listening.lanes import lanes_of
from engine.separators.network import Network
from hotfolder.catalogue.report import separators_of
from hotfolder.published import read_published
from presets import StemwrightError, load_preset

RATE = 44100
LENGTH = 8192  # of the toys' segments
THREE_LEVELS = """\
name: studio
recipe:
  split:
    card: tones
    out:
      low: {split: {card: echo, out: {all: {split: {card: half, out: {all: {as: dry}}}}}}}
      high: keep
"""


@pytest.fixture
def cards(tmp_path):
    """`tones` finds low and high tones, `echo` all of what it hears, `half` half of it."""
    folder = tmp_path / "separators"
    folder.mkdir()
    model = toys.wave_toy(folder / "tones.onnx", toys.BOTH, LENGTH)
    wave = {"segment": LENGTH, "inputs": [toys.tensor("mix", "wave", "b c n")],
            "outputs": [toys.tensor("stems", "wave", "b s c n")]}  # fmt: skip
    toys.write_card(folder, [model], name="tones", overlap=0.5, discard=600, **wave)
    toys.echo(folder, name="echo")
    toys.echo(folder, name="half", gain=0.5)
    return folder


@pytest.fixture
def options(cards, tiny_prior_folder):
    return RenderOptions(
        prior_folders=(tiny_prior_folder,),
        separator_folders=(cards,),
        unchecked_separators="warn",
        device="cpu",
        threads=1,
    )


def preset_of(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return load_preset(path)


def mix_of(path, seconds=1.5, subtype="PCM_16", rate=RATE, channels=2):
    rng = np.random.default_rng(5)
    audio = 0.01 * rng.standard_normal((channels, round(seconds * rate)))
    tones = sum(toys.tones(seconds, rate).values())
    audio[:2] += tones[:channels]
    soundfile.write(path, audio.T, rate, subtype=subtype)
    return path


def dry(folder, manifest):
    return {f.stem: folder / f.path for f in manifest.files if f.kind == "dry"}


def samples(path):
    return soundfile.read(path, dtype="float64", always_2d=True)[0].T


def digests(folder):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (folder / "dry").iterdir()}


@pytest.mark.parametrize(
    ("subtype", "rate", "channels"),
    [("PCM_16", 44100, 2), ("PCM_24", 48000, 2), ("PCM_24", 96000, 1), ("FLOAT", 44100, 2),
     ("PCM_24", 48000, 6)],
)  # fmt: skip
def test_leaves_of_three_levels_sum_to_the_mix(tmp_path, options, subtype, rate, channels):
    preset = preset_of(tmp_path, THREE_LEVELS)
    mix = mix_of(tmp_path / "mix.wav", 1.0, subtype, rate, channels)
    manifest = render(mix, tmp_path / "out", preset, options)
    files = dry(tmp_path / "out", manifest)
    assert set(files) - {"rounding"} == {"dry", "all-rest", "low-rest", "high", "residual"}
    assert measure_null(mix, list(files.values())).exact
    assert manifest.null_dbfs is None
    for path in files.values():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (rate, channels)


def test_every_node_is_its_parts_and_its_rest(tmp_path, options):
    """In integers of the mix's own grid, in the workspace."""
    preset = preset_of(tmp_path, THREE_LEVELS)
    mix = mix_of(tmp_path / "mix.wav", subtype="PCM_24")
    workspace = tmp_path / "job" / "work"
    render(mix, tmp_path / "out", preset, replace(options, workspace=workspace))

    def part(node, name):
        return np.fromfile(workspace / f"node-{node}" / "parts" / f"{name}.raw") * 2.0**23

    whole = soundfile.read(mix, dtype="int32")[0].reshape(-1) >> 8
    assert np.array_equal(
        part("mix", "low") + part("mix", "high") + part("mix", "residual"), whole
    )
    assert np.array_equal(part("low", "all") + part("low", "low-rest"), part("mix", "low"))
    assert np.array_equal(part("all", "dry") + part("all", "all-rest"), part("low", "all"))
    for node, name in (("mix", "low"), ("all", "dry"), ("all", "all-rest")):
        assert np.array_equal(part(node, name), np.rint(part(node, name)))
        assert np.abs(part(node, name)).max() > 1000


def test_separated_stems_are_what_the_model_says(tmp_path, options):
    preset = preset_of(
        tmp_path, "name: p\nstems: {low: {separator: tones}, treble: {separator: tones, "
        "output: high}}\n")  # fmt: skip
    mix = mix_of(tmp_path / "mix.wav", subtype="FLOAT")
    manifest = render(mix, tmp_path / "out", preset, options)
    files, truth = dry(tmp_path / "out", manifest), toys.tones(1.5)
    inside = slice(4000, -4000)
    for stem, key in (("low", "low"), ("treble", "high")):
        error = samples(files[stem])[:, inside] - truth[key][:, inside]
        assert np.abs(error).max() < 0.05 * np.abs(truth[key]).max() + 0.01
    assert manifest.quality.stems["low"].leakage_db is None
    assert manifest.quality.stems["low"].level_db < 0


def test_a_stem_from_each_model(tmp_path, options):
    preset = preset_of(
        tmp_path, "name: p\nstems: {low: {separator: tones}, half: {separator: half, "
        "output: all}}\n")  # fmt: skip
    mix = mix_of(tmp_path / "mix.wav", subtype="PCM_24")
    files = dry(tmp_path / "out", render(mix, tmp_path / "out", preset, options))
    assert np.abs(samples(files["half"]) - 0.5 * samples(mix)).max() < 2**-22
    assert measure_null(mix, list(files.values())).exact


@pytest.mark.parametrize(
    ("more", "names"),
    [("residual: {into: high}", {"low", "high"}), ("", {"low", "high", "residual"})],
)
def test_the_residual_may_be_part_of_a_stem(more, names, tmp_path, options):
    text = f"stems: {{low: {{separator: tones}}, high: {{separator: tones}}}}\n{more}\n"
    mix = mix_of(tmp_path / "mix.wav", subtype="PCM_24")
    manifest = render(mix, tmp_path / "out", preset_of(tmp_path, text), options)
    files = dry(tmp_path / "out", manifest)
    assert set(files) == names
    assert measure_null(mix, list(files.values())).exact


def test_a_named_rest_takes_what_is_left(tmp_path, options):
    text = "recipe: {split: {card: tones, out: {low: keep, rest: {as: backing}}}}\n"
    mix = mix_of(tmp_path / "mix.wav", subtype="PCM_24")
    manifest = render(mix, tmp_path / "out", preset_of(tmp_path, text), options)
    files = dry(tmp_path / "out", manifest)
    assert set(files) == {"low", "backing"}
    assert measure_null(mix, list(files.values())).exact


@pytest.mark.parametrize(
    ("combine", "weights", "share"),
    [("mean", "", 0.75), ("mean", "weights: {all: [3, 1]}, ", 0.875), ("max-spec", "", 1.0),
     ("min-spec", "", 0.5), ("median-spec", "", 0.75), ("mean", "weights: {all: [0, 1]}, ", 0.5)],
)  # fmt: skip
def test_ensembles(combine, weights, share, tmp_path, options):
    preset = preset_of(
        tmp_path,
        f"name: p\nrecipe: {{split: {{cards: [echo, half], combine: {combine}, {weights}"
        "out: {all: keep}}}\n",
    )
    mix = mix_of(tmp_path / "mix.wav", subtype="PCM_24")
    files = dry(tmp_path / "out", render(mix, tmp_path / "out", preset, options))
    assert np.abs(samples(files["all"]) - share * samples(mix)).max() < 2**-18
    assert measure_null(mix, list(files.values())).exact


@pytest.mark.parametrize("inside", ["low", None])
def test_priors_are_searched_inside_a_node(inside, tmp_path, options):
    """The search's stems sum to the node, not to the mix."""
    search = f"steps: 2, inside: {inside}" if inside else "steps: 2"
    outputs = "high: {separator: tones}" if inside else "bass: {separator: tones, output: low}"
    preset = preset_of(
        tmp_path,
        f"name: p\nstems: {{{outputs}, a: {{prior: low}}, b: {{prior: high}}}}\n"
        f"search: {{{search}}}\n",
    )
    assert preset.sources.searched == ("a", "b")
    mix = mix_of(tmp_path / "mix.wav", subtype="PCM_24")
    workspace = tmp_path / "job" / "w"
    manifest = render(mix, tmp_path / "out", preset, replace(options, workspace=workspace))
    files = dry(tmp_path / "out", manifest)
    assert measure_null(mix, list(files.values())).exact
    name = inside or "residual"
    node = np.fromfile(workspace / "node-mix" / "parts" / f"{name}.raw").reshape(-1, 2).T
    found = samples(files["a"]) + samples(files["b"])
    assert np.abs(found - node).max() < 1e-4
    assert manifest.quality.stems["a"].leakage_db is not None
    assert set(manifest.priors) == {"a", "b"}


def test_a_foreign_estimate_guides_the_search(tmp_path, options):
    """At no steps the masks are the estimate's: the guide's own stems, not the small network's."""
    mix = mix_of(tmp_path / "mix.wav", subtype="PCM_24")
    search = "steps: 0, guided_steps: 0, flow_weight: 0, song_weight: 0, spatial: false"
    text = f"name: p\nstems: {{low: {{}}, high: {{}}}}\nsearch: {{{search}%s}}\n"
    own = render(mix, tmp_path / "a", preset_of(tmp_path, text % ""), options)
    guided = render(mix, tmp_path / "b", preset_of(tmp_path, text % ", guide: tones"), options)
    truth, errors = toys.tones(1.5)["low"], []
    for folder, manifest in (("a", own), ("b", guided)):
        found = samples(dry(tmp_path / folder, manifest)["low"])
        errors.append(np.square(found - truth).sum())
    assert errors[1] < 0.1 * errors[0]
    assert guided.separators.keys() == {"tones"}


def test_manifest_names_cards_licences_and_hashes(tmp_path, options, cards):
    preset = preset_of(tmp_path, THREE_LEVELS)
    manifest = render(mix_of(tmp_path / "mix.wav"), tmp_path / "out", preset, options)
    assert load_manifest(tmp_path / "out") == manifest
    card = manifest.separators["tones"]
    assert card["licence"] == "none: made by a test"
    assert card["files"] == {"tones.onnx": toys.sha256(cards / "tones.onnx")}
    assert prior_hashes(preset, options)["separator:tones"] == card["digest"]
    assert any("tones is not checked" in word for word in manifest.degraded)
    assert manifest.provider["got"] == "cpu"


def test_a_listening_page_names_cards_and_licences(tmp_path, options, cards):
    """Of all cards on the way to a stem, the prior's where it is searched, and of the rest."""
    text = (
        "output: {report: light}\nsearch: {steps: 2, inside: high}\n"
        "stems: {a: {prior: low}, b: {prior: high}}\n"
    )
    preset = preset_of(tmp_path, THREE_LEVELS + text)
    toys.echo(cards, name="half", gain=0.5, licence="half's own")
    manifest = render(mix_of(tmp_path / "mix.wav"), tmp_path / "out", preset, options)
    assert manifest.made_by["dry"] == ("tones", "echo", "half")
    data = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r"window\.SW_DATA = (.*?);</script>", data, re.S)[1])
    origins = {lane["stem"]: (lane.get("source"), lane.get("licence")) for lane in data["lanes"]}
    test = "none: made by a test"
    prior = manifest.priors["a"]["licence"]
    assert origins["dry"] == ("tones > echo > half", f"{test}; half's own")
    assert origins["low-rest"] == ("tones > echo", test)
    assert origins["residual"] == ("tones", test)
    assert origins["a"] == (f"tones > {manifest.priors['a']['file']}", f"{test}; {prior}")
    assert {lane["band_hz"] for lane in data["lanes"] if "band_hz" in lane} == {None}, "whole"
    narrow = {"tones": {"band_hz": 11025.0}, "echo": {"band_hz": 14700.0}}
    limited = manifest.model_copy(update={"separators": narrow})
    lanes = lanes_of(tmp_path / "out", limited, None)
    assert {lane.facts.get("band_hz") for lane in lanes if lane.stem == "dry"} == {11025.0}
    report = separators_of(read_published(tmp_path / "out").facts)  # of a catalogue
    assert report == f"tones ({test}); echo ({test}); half (half's own)"


def test_a_guide_is_named_with_the_stems_it_guides(tmp_path):
    text = "stems: {low: {}, high: {}}\nsearch: {guide: tones}\n"
    preset = preset_of(tmp_path, text)
    assert [preset.sources.cards_of(name) for name in ("low", "residual")] == [("tones",), ()]
    text = "stems: {low: {separator: tones}, all: {separator: half}}\n"
    preset = preset_of(tmp_path, text)
    named = [preset.sources.cards_of(name) for name in ("low", "all", "residual")]
    assert named == [("tones",), ("half",), ("tones", "half")]


@pytest.mark.parametrize("stops_at", [3, 25, 55])
def test_a_stopped_recipe_goes_on_with_the_same_bytes(stops_at, tmp_path, options, monkeypatch):
    preset = preset_of(
        tmp_path, THREE_LEVELS + "stems: {a: {prior: low}, b: {prior: high}}\n"
        "search: {steps: 2, inside: high}\n")  # fmt: skip
    mix = mix_of(tmp_path / "mix.wav")
    asked, run = [], Network.run
    monkeypatch.setattr(Network, "run", lambda self, x: asked.append(1) or run(self, x))
    render(mix, tmp_path / "whole", preset, options)
    once = len(asked)
    looks = iter([False] * stops_at + [True])
    kept = replace(options, workspace=tmp_path / "job" / "w")
    with pytest.raises(Interrupted):
        render(mix, tmp_path / "again", preset, replace(kept, should_stop=lambda: next(looks)))
    assert not (tmp_path / "again").exists()
    render(mix, tmp_path / "again", preset, kept)
    assert len(asked) == 2 * once  # nothing is asked twice
    assert digests(tmp_path / "whole") == digests(tmp_path / "again")


def test_progress_tells_the_card_and_counts_on(tmp_path, options):
    progress = []
    preset = preset_of(tmp_path, THREE_LEVELS)
    render(
        mix_of(tmp_path / "mix.wav"), tmp_path / "out", preset,
        replace(options, progress=progress.append),
    )  # fmt: skip
    searching = [p for p in progress if p.stage == "searching"]
    assert [*dict.fromkeys(p.work for p in searching)] == [
        "tones in mix", "echo in low", "half in all",
    ]  # fmt: skip
    segments = [p.segment for p in searching]
    assert segments == sorted(segments)
    assert searching[-1].segment == searching[-1].segments


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stems: {lo: {separator: tones}}", "no output 'lo'.*did you mean 'low'.*low, high"),
        ("stems: {low: {separator: tunes}}", "no separator is called 'tunes'.*'tones'"),
        ("stems: {low: {separator: tones}, x: {prior: low}}", "x alone would be given all"),
        ("stems: {low: {separator: tones}}\nsearch: {inside: hgh}", "no stem is left"),
        ("recipe: {split: {card: tones, out: {low: keep}}}\nsearch: {inside: hgh}",
         "search.inside: hgh is none of what comes out: low, residual"),
        ("stems: {low: {}}\nsearch: {inside: low}", "search.inside: no stem has a separator"),
        ("recipe: {split: {card: tones, out: {low: keep, high: {as: low}}}}", "low comes out tw"),
        ("recipe: {split: {card: tones, cards: [a], out: {low: keep}}}", "card: name one card"),
        ("recipe: {split: {card: tones, out: {low: {card: x}}}}", "x is none of tones"),
        ("recipe: {split: {card: tones, out: {rest: keep}}}", "out: takes nothing"),
        ("recipe: {split: {card: tones, out: {low: kep}}}", "recipe.split.out.low"),
        ("recipe: {split: {card: tones, owt: {low: keep}}}", "owt: no such key.*'out'"),
        ("recipe: {split: {card: tones, out: {low: keep}}}\nstems: {low: {separator: tones}}",
         "low has a separator besides"),
        ("recipe: {split: {cards: [a, b], weights: {low: [1]}, out: {low: keep}}}", "1 for 2"),
        ("stems: {a: {prior: low}, b: {prior: high}}\nsearch: {guide: echo, steps: 0}",
         "search.guide: echo gives all, and none of the searched stems"),
    ],
)  # fmt: skip
def test_mistakes_of_a_preset_are_told(text, words, tmp_path, options):
    with pytest.raises(StemwrightError, match=words):
        render(mix_of(tmp_path / "m.wav"), tmp_path / "out", preset_of(tmp_path, text), options)
    assert not (tmp_path / "out").exists()


def test_five_levels_are_too_many(tmp_path):
    node = {"split": {"card": "echo", "out": {"all": "keep"}}}
    for level in range(4):
        node = {"split": {"card": "echo", "out": {"all": {"as": f"n{level}", **node}}}}
    with pytest.raises(StemwrightError, match="more than 4 levels"):
        preset_of(tmp_path, yaml.safe_dump({"recipe": node}))


def test_policy_refuses_what_is_not_checked_or_not_commercial(tmp_path, options):
    preset = preset_of(tmp_path, "stems: {low: {separator: tones}}")
    mix = mix_of(tmp_path / "mix.wav")
    with pytest.raises(StemwrightError, match=r"is not checked.*separator check"):
        render(mix, tmp_path / "out", preset, replace(options, unchecked_separators="refuse"))
    with pytest.raises(StemwrightError, match="commercial use of tones is unknown"):
        render(mix, tmp_path / "out", preset, replace(options, commercial_only=True))


def test_voices_of_a_recipe_s_stem_stand_in_its_place_under_their_own_names(tmp_path, options):
    """First a stem out of the mix, then its voices out of the stem; together still the mix."""
    preset = preset_of(
        tmp_path,
        "name: backing\n"
        "recipe: {split: {card: tones, out: {low: {as: vocals}, high: keep}}}\n"
        "voices: {parts: [lead, deep], of: vocals}\n",
    )
    mix = mix_of(tmp_path / "mix.wav", 2.0)
    pitches = {"voices": {"lead": [440.0] * 125, "deep": [110.0] * 125}, "frame_seconds": 0.016}
    (tmp_path / "mix.f0.json").write_text(json.dumps(pitches))
    manifest = render(mix, tmp_path / "out", preset, options)
    files = dry(tmp_path / "out", manifest)
    assert set(files) - {"rounding"} == {"lead", "deep", "high", "residual"}
    assert {path.name for path in files.values()} >= {"mix_lead.wav", "mix_deep.wav"}
    assert manifest.voices["pitches"]["origin"] == "file"
    assert measure_null(mix, list(files.values())).exact
