"""A choir of computed singers: notes that drift and shake, with harmonics that fall."""

import mido
import numpy as np

RATE = 16_000
STEP_S = 0.016
MELODIES = {  # notes of MIDI, one a second; None is a rest
    "soprano": [72, 74, 76, 77, None, 79, 76, 74],
    "alto": [65, 67, 69, None, 70, 71, 69, 67],
    "bass": [48, 50, 53, 52, 50, 47, None, 48],
}


def sung(notes, *, seed=0, cents=12.0, transposed=0):
    """A melody as audio (samples,) and its pitch at every frame, 0 in rests."""
    rng = np.random.default_rng(seed)
    audio, hertz = [], []
    for note in notes:
        time = np.arange(RATE) / RATE
        if note is None:
            audio.append(np.zeros(RATE))
            hertz.append(np.zeros(RATE))
            continue
        drift = rng.normal(0, cents) + 15 * np.sin(2 * np.pi * 5.2 * time + rng.uniform(0, 6))
        f0 = 440 * 2 ** ((note + transposed - 69) / 12 + drift / 1200)
        phase = 2 * np.pi * np.cumsum(f0) / RATE
        tone = sum(
            np.exp(-h * f0 / 1800) * np.sin(h * phase) for h in range(1, int(7000 / f0.max()))
        )
        ramp = np.minimum(1, np.minimum(time, 1 - time) / 0.03)
        audio.append(0.2 * tone * ramp)
        hertz.append(f0)
    every = round(STEP_S * RATE)
    return np.concatenate(audio), np.concatenate(hertz)[::every]


def choir(parts=("soprano", "alto", "bass"), **how):
    """Audio of all, (samples,) at 16 kHz, and pitches (voices, frames)."""
    ones = [sung(MELODIES[name], seed=n, **how) for n, name in enumerate(parts)]
    noise = np.random.default_rng(9).normal(0, 1e-3, len(ones[0][0]))
    audio = (sum(audio for audio, _ in ones) + noise).astype(np.float32)
    return audio, np.stack([hertz for _, hertz in ones])


def write_score(path, melodies=MELODIES, *, seconds_a_note=1.0, lead_in=0.0, tempo=500_000):
    """A MIDI file of melodies, with a tempo and a lead-in of its own."""
    file = mido.MidiFile(type=1, ticks_per_beat=480)

    def ticks(seconds):
        return round(seconds * 1e6 / tempo * 480)

    for name, notes in melodies.items():
        track = mido.MidiTrack([
            mido.MetaMessage("track_name", name=name), mido.MetaMessage("set_tempo", tempo=tempo)
        ])  # fmt: skip
        wait = ticks(lead_in)
        for note in notes:
            length = ticks(seconds_a_note)
            if note is None:
                wait += length
                continue
            track.append(mido.Message("note_on", note=note, velocity=80, time=wait))
            track.append(mido.Message("note_off", note=note, velocity=0, time=length))
            wait = 0
        file.tracks.append(track)
    file.save(path)
    return path


def within(found, true, hertz):
    """The share of sung frames whose pitch is no farther off than that."""
    frames = min(found.shape[1], true.shape[1])
    found, true = found[:, :frames], true[:, :frames]
    voiced = true > 0
    return float((np.abs(found - true)[voiced] < hertz).mean())
