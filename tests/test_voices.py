"""A choir into its voices: the signal model, the network, the masks."""

import math
import re
from decimal import Decimal, getcontext

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import stemwright
from engine import (
    VOICE_HOP,
    VOICE_RATE,
    Excitation,
    PitchTracks,
    VoiceBins,
    VoiceNetwork,
    list_priors,
)
from engine.voices.features import frames_of, mel_weights
from engine.voices.masks import VoiceMasks, separate_voices
from engine.voices.network import SHARED, SHIPPED, WINDOW, find_network, heard_in_windows
from engine.voices.pitch_files import pitches_json
from engine.voices.synthesis import VoiceParameters, filter_power, voice_magnitudes
from export.data.mixtures import Mixture, MixtureExcerpts
from export.models.source_filter import (
    PUBLISHED,
    SMALL,
    SourceFilterConfig,
    SourceFilterNetwork,
    ordered,
    predictor,
)
from export.models.source_filter import filter_power as torch_filter_power
from export.training.options import TrainingOptions
from export.training.voice_training import SourceFilterSynthesis, VoiceSettings
from export.voices import fit_voices, train_voices
from presets import StemwrightError

TINY = SourceFilterConfig(
    mels=16, encoder=8, encoder_layers=2, latent=8, decoder=16, layers=1, harmonics=6,
    both_ways=True, noise_follows=True,
)  # fmt: skip
FIT = VoiceSettings(steps=6, batch=2, seconds=1.0)


def tracks(*hertz, seconds=5.0):
    """Voices on steady pitches; a pitch of 0 rests."""
    frames = round(seconds / 0.016) + 1
    tones = np.repeat(np.array(hertz, np.float32)[:, None], frames, axis=1)
    names = tuple(f"voice{n}" for n in range(len(hertz)))
    return PitchTracks(names, tones, 0.016, np.ones_like(tones), "file")


def sung(pitches, seconds=5.0, rate=VOICE_RATE):
    """A mixture of bright tones, one after the other louder: (samples,)."""
    samples = round(seconds * rate)
    waves = Excitation(pitches, seconds).waveform(0, samples, rate)
    loud = 0.05 * (1 + np.arange(len(waves)))[:, None]
    return (loud * waves).sum(axis=0).astype(np.float32) / 10


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    pitches = tracks(220.0, 331.0)
    mixture = Mixture("two", sung(pitches), pitches)
    made = folder / "tiny.voices"
    list(fit_voices([mixture], folder / "run", made, config=TINY, settings=FIT, every=3))
    return made


def reflections(lsf):
    """Reflection coefficients of A(z), all below 1 exactly when its roots are inside the unit
    circle; in 200 digits, since twenty roots close together are lost in double precision."""
    getcontext().prec = 200
    P, Q = [Decimal(1), Decimal(1)], [Decimal(1), Decimal(-1)]
    for index, frequency in enumerate(lsf):
        grown = Q if index % 2 else P
        middle = -2 * Decimal(math.cos(frequency))
        left, right = [*grown, 0, 0], [0, 0, *grown]
        grown[:] = [
            a + middle * b + c for a, b, c in zip(left, [0, *grown, 0], right, strict=True)
        ]
    a = [(p + q) / 2 for p, q in zip(P, Q, strict=True)][:-1]
    found = []
    while len(a) > 1:
        k = a[-1]
        found.append(k)
        a = [(x - k * y) / (1 - k * k) for x, y in zip(a, a[::-1], strict=True)][:-1]
    return found


@given(arrays(np.float32, (3, 21), elements=st.floats(-60, 60, width=32, allow_subnormal=False)))
@settings(max_examples=200, deadline=None)
def test_poles_lie_inside_the_unit_circle_whatever_the_network_says(outputs):
    lsf = ordered(torch.from_numpy(outputs).double())
    for one in lsf.tolist():
        assert max(abs(k) for k in reflections(one)) < 1
    gaps = np.diff(lsf.numpy(), prepend=0, append=np.pi, axis=-1)
    assert gaps.min() > 0


@given(arrays(np.float32, (2, 21), elements=st.floats(-3, 3, width=32, allow_subnormal=False)))
@settings(max_examples=30, deadline=None)
def test_filters_in_numpy_and_in_torch_are_the_polynomials(outputs):
    lsf = ordered(torch.from_numpy(outputs).double())
    omega = np.linspace(0, np.pi, 65)
    phases = np.exp(-1j * np.arange(21)[:, None] * omega)
    coefficients = predictor(lsf).numpy()
    expected = np.abs(coefficients @ phases) ** 2
    rounding = 1e-12 * np.abs(coefficients).sum(axis=1, keepdims=True) ** 2
    ours = filter_power(lsf.numpy(), np.cos(omega))
    theirs = torch_filter_power(lsf, torch.from_numpy(omega)).numpy()
    assert (np.abs(1 / ours - expected) <= rounding + 1e-6 * expected).all()
    assert (np.abs(1 / theirs - expected) <= rounding + 1e-6 * expected).all()


@pytest.mark.parametrize("hertz", [55.0, 220.0, 443.7, 1000.0])
def test_an_excitation_has_equal_harmonics_up_to_half_the_rate(hertz):
    wave = Excitation(tracks(hertz), 2.0).waveform(0, 2 * VOICE_RATE, VOICE_RATE)[0]
    bins = VoiceBins(4096, VOICE_RATE)
    peaks = bins.magnitudes(wave, VOICE_HOP)[20]
    for k in range(1, int(7900 / hertz), max(1, int(1000 / hertz))):
        near = np.abs(bins.hertz - k * hertz) < 2 * VOICE_RATE / 4096
        assert peaks[near].max() == pytest.approx(1, rel=0.2)
    assert np.abs(wave).max() == pytest.approx(int(8000 / hertz), rel=1e-3)


def test_a_piece_of_an_excitation_is_that_piece_of_the_whole():
    glide = np.linspace(200, 300, 200, dtype=np.float32)[None]
    driving = Excitation(PitchTracks(("a",), glide, 0.016, np.ones_like(glide), "file"), 3.0)
    whole = driving.waveform(0, 40000, VOICE_RATE)
    np.testing.assert_allclose(driving.waveform(12345, 999, VOICE_RATE), whole[:, 12345:13344])
    assert not driving.waveform(-500, 400, VOICE_RATE).any()


def test_a_voice_that_rests_is_silent():
    waves = Excitation(tracks(220.0, 0.0), 1.0).waveform(0, VOICE_RATE, VOICE_RATE)
    assert waves[0].any()
    assert not waves[1].any()


def test_the_published_network_has_the_published_size():
    parameters = sum(p.numel() for p in SourceFilterNetwork(PUBLISHED).parameters())
    assert parameters == 5_428_415
    assert parameters == pytest.approx(22.3e6 / 4, rel=0.05)  # a file of 22.3 MB in float32
    assert sum(p.numel() for p in SourceFilterNetwork(SMALL).parameters()) < 1e6


@pytest.mark.parametrize("config", [TINY, SourceFilterConfig(mels=16, encoder=8, decoder=16)])
def test_magnitudes_in_numpy_are_those_in_torch(config):
    pitches = tracks(196.0, 262.0, 0.0)
    mixture = Mixture("three", sung(pitches), pitches)
    heard = MixtureExcerpts([mixture], config.mels, config.harmonics)
    excerpt = heard.excerpt(mixture, 10, 40)
    torch.manual_seed(1)
    network = SourceFilterNetwork(config).eval()
    with torch.no_grad():
        powers = SourceFilterSynthesis(heard, config).powers(network, excerpt)
        inputs = (excerpt.mel, excerpt.pitch, excerpt.harmonics)
        parameters = VoiceParameters(*(values[0].numpy() for values in network(*inputs)))
    for index, bins in enumerate(heard.bins):
        ours = voice_magnitudes(parameters, excerpt.excitation[index][0].numpy(), bins)
        theirs = np.sqrt(powers[index][0].numpy())
        error = np.abs(ours - theirs) / theirs
        assert error.max() < 0.1, "torch is in single precision"
        assert np.median(error) < 1e-3


def test_the_loader_is_given_mixtures_and_pitches_and_nothing_else():
    """Two ways to sum to the same mixture teach the same: no voice is told apart in training."""
    pitches = tracks(196.0, 262.0)
    loud, soft = (np.stack([a * sung(pitches), b * sung(pitches)]) for a, b in ((1, 1), (2, 0)))
    samples = [
        MixtureExcerpts([Mixture("m", voices.sum(axis=0), pitches)], 16, 6).sample(
            np.random.default_rng(3), 2, 30
        )
        for voices in (loud, soft)
    ]
    for name in ("mel", "pitch", "harmonics"):
        torch.testing.assert_close(getattr(samples[0], name), getattr(samples[1], name))
    mix, excitation = samples[0].mix, samples[0].excitation
    assert all(one.shape[:2] == (2, 30) for one in mix), "one mixture for each excerpt"
    torch.testing.assert_close(mix, samples[1].mix)
    torch.testing.assert_close(excitation, samples[1].excitation)
    scaled = MixtureExcerpts([Mixture("m", 5 * loud.sum(axis=0), pitches)], 16, 6)
    again = scaled.sample(np.random.default_rng(3), 2, 30)
    torch.testing.assert_close(again.excitation, excitation)


def test_training_makes_the_sum_more_like_the_mix(tmp_path):
    pitches = tracks(220.0, 331.0)
    mixture = Mixture("two", sung(pitches), pitches)
    longer = VoiceSettings(steps=24, batch=2, seconds=1.0, learning_rate=1e-2, warm_up=4)
    reports = list(
        fit_voices(
            [mixture], tmp_path / "run", tmp_path / "b.voices", config=TINY, settings=longer,
            every=6,
        )
    )  # fmt: skip
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert reports[-1].step == 24


def test_an_interrupted_fit_ends_with_the_same_bytes(tmp_path, bundle):
    pitches = tracks(220.0, 331.0)
    mixture = Mixture("two", sung(pitches), pitches)
    made = tmp_path / "again.voices"
    fit = fit_voices([mixture], tmp_path / "run", made, config=TINY, settings=FIT, every=3)
    assert next(fit).step == 3
    fit.close()
    assert not made.exists()
    rest = fit_voices([mixture], tmp_path / "run", made, config=TINY, settings=FIT, every=3)
    assert [report.step for report in rest] == [6]
    assert made.read_bytes() == bundle.read_bytes()


def test_the_verb_says_how_long_it_takes_and_goes_on(tmp_path, bundle):
    pitches = tracks(220.0, 331.0)
    song = tmp_path / "song.wav"
    soundfile.write(song, 0.5 * sung(pitches), VOICE_RATE, subtype="FLOAT")
    song.with_suffix(".f0.json").write_text(pitches_json(pitches))
    made = tmp_path / "two.voices"
    asked = TrainingOptions(tmp_path / "run", steps=6, batch=2, begin_from=bundle)
    said = list(train_voices([song], pitches.names, made, asked))
    began = next(n for n, line in enumerate(said) if line.startswith("step "))
    assert re.fullmatch(r"6 steps of \S+ s: will take about \d+ s", said[began - 1])
    assert made.exists()
    assert "nothing is left to train" in list(train_voices([song], pitches.names, made, asked))


def test_a_fit_goes_on_from_a_bundle_and_keeps_its_size(tmp_path, bundle):
    pitches = tracks(220.0, 331.0)
    mixture = Mixture("two", sung(pitches), pitches)
    made = tmp_path / "more.voices"
    list(fit_voices([mixture], tmp_path / "run", made, start_from=bundle, settings=FIT))
    assert VoiceNetwork.load(made).card.config == VoiceNetwork.load(bundle).card.config


def test_a_recording_that_is_too_short_cannot_be_fitted(tmp_path):
    pitches = tracks(220.0, 331.0, seconds=1.0)
    mixture = Mixture("short", sung(pitches, seconds=1.0), pitches)
    with pytest.raises(StemwrightError, match="needs 4 s or more"):
        next(fit_voices([mixture], tmp_path / "run", tmp_path / "b.voices", config=TINY))


def test_a_changed_bundle_is_refused(tmp_path, bundle):
    blob = bytearray(bundle.read_bytes())
    blob[blob.index(b"network.onnx") + 400] ^= 1
    changed = tmp_path / "changed.voices"
    changed.write_bytes(blob)
    with pytest.raises(StemwrightError, match="not a usable"):
        VoiceNetwork.load(changed)


def test_windows_of_a_long_mix_join_without_a_seam():
    """A network that says what it is told frame by frame says it everywhere."""
    pitches = tracks(220.0, seconds=60.0)
    mix = sung(pitches, seconds=60.0)
    asked = []

    def run(mel, pitch, harmonics):
        asked.append(len(mel))
        of_frames = np.repeat(pitch[..., None], 20, axis=-1)
        return pitch, pitch, of_frames, of_frames

    found = heard_in_windows(run, 16, 4, mix, pitches)
    assert found.frames == frames_of(len(mix))
    assert len(asked) > 2 and max(asked) == WINDOW and SHARED < WINDOW
    np.testing.assert_allclose(found.amplitude, found.amplitude[0, 0], rtol=1e-5)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_voices_and_what_is_left_sum_to_the_mix(bundle, rate):
    pitches = tracks(220.0, 331.0)
    rng = np.random.default_rng(5)
    mix = np.stack([sung(pitches, rate=rate)] * 2)
    mix += 0.01 * rng.standard_normal(mix.shape).astype(np.float32)
    seen = []
    voices = separate_voices(
        mix, rate, pitches, VoiceNetwork.load(bundle), lambda *done: seen.append(done)
    )
    assert list(voices) == ["voice0", "voice1"]
    assert all(one.shape == mix.shape for one in voices.values())
    left = mix - sum(voices.values())
    assert np.abs(left).max() < 1e-4 * np.abs(mix).max()
    assert seen[-1][0] == seen[-1][1]


def test_each_voice_is_found_at_its_own_harmonics(bundle):
    pitches = tracks(220.0, 331.0)
    alone = [sung(tracks(hertz)) for hertz in (220.0, 331.0)]
    voices = separate_voices(sum(alone)[None], VOICE_RATE, pitches, VoiceNetwork.load(bundle))
    inside = slice(VOICE_RATE, -VOICE_RATE)
    for voice, true in zip(voices.values(), alone, strict=True):
        wrong = voice[0, inside] - true[inside]
        assert 10 * np.log10((true[inside] ** 2).mean() / (wrong**2).mean()) > 6


def test_masks_of_blocks_are_those_of_the_whole(bundle):
    pitches = tracks(220.0, 331.0)
    parameters = VoiceNetwork.load(bundle).parameters(sung(pitches), pitches)
    masks = VoiceMasks(parameters, pitches, VOICE_RATE, 5 * VOICE_RATE)
    whole = masks.masks(0, 60)
    parts = np.concatenate([masks.masks(0, 7), masks.masks(7, 53)], axis=1)
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_every_mel_band_has_weight():
    for mels in (16, 64, 128):
        np.testing.assert_allclose(mel_weights(mels).sum(axis=0), 1, rtol=1e-5)


def test_silence_stays_silence(bundle):
    pitches = tracks(220.0, 331.0)
    silent = np.zeros((1, 5 * VOICE_RATE), np.float32)
    voices = separate_voices(silent, VOICE_RATE, pitches, VoiceNetwork.load(bundle))
    assert not any(voice.any() for voice in voices.values())


def test_the_shipped_network_says_what_it_heard():
    network = VoiceNetwork.load(SHIPPED)
    assert network.card.licence == "CC BY 4.0"
    assert {source.licence for source in network.card.sources} == {"CC BY 4.0", "public domain"}
    assert network.card.validation["SI-SDR of four voices, dB"] > 7.5
    assert SHIPPED.stat().st_size < 3e6


def test_a_network_is_found_by_its_name_and_is_no_prior(tmp_path, bundle):
    assert find_network("choir") == SHIPPED
    assert find_network(str(bundle)) == bundle
    own = tmp_path / "choir.voices"
    own.write_bytes(bundle.read_bytes())
    assert find_network("choir", [tmp_path]) == own
    assert "choir" not in list_priors()
    with pytest.raises(StemwrightError, match="no bundle is called 'glee'; there are choir"):
        find_network("glee")


def test_prior_voices_trains_a_network_that_voices_can_name(tmp_path):
    pitches = tracks(220.0, 331.0)
    soundfile.write(tmp_path / "duo.wav", sung(pitches, rate=22050), 22050, subtype="FLOAT")
    (tmp_path / "duo.f0.json").write_text(pitches_json(pitches))
    made = tmp_path / "duo.voices"
    arguments = ["prior", "voices", str(tmp_path / "duo.wav"), "--parts", "voice0,voice1", "-o",
             str(made), "--run", str(tmp_path / "run"), "--steps", "2", "--batch", "1",
             "--threads", "1"]  # fmt: skip
    done = CliRunner().invoke(stemwright.main, arguments)
    assert done.exit_code == 0, done.output
    assert "pitches by file" in done.output
    assert "steps are left" in done.output, "the time it takes is told before it starts"
    card = VoiceNetwork.load(made).card
    assert (card.training["steps"], card.training["batch"]) == (2, 1)
    assert card.sources[0].files == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [(("-o", "net.onnx"), "ends in .voices"), (("--device", "cuda"), "on the processor alone")],
)
def test_prior_voices_refuses_what_it_cannot_do(tmp_path, changed, message):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 16000)
    arguments = ["prior", "voices", str(tmp_path / "a.wav"), "--parts", "a", "-o", "net.voices"]
    done = CliRunner().invoke(stemwright.main, [*arguments, *changed])
    assert done.exit_code != 0
    assert message in str(done.exception) + done.output
