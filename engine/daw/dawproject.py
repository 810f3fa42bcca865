"""Writes DAWproject 1.0: one zip with the session as XML and the stems as WAV files inside.

Read by Bitwig Studio, Studio One, Cubase and others. The format and the order of its elements
are those of the public schema (bitwig/dawproject, Project.xsd). Times are in seconds, in one
level and without warps, so that nothing is stretched whatever the tempo.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

from ..audio.blocks import BLOCK_FRAMES
from ..audio.reading import MixReader
from ..audio.wave_header import FileFormat
from ..audio.writing import StemWriter
from .session import WAVE_CONTAINERS, DawTrack, PluginDevice, Session

EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier date; a fixed one makes equal bytes
COPY_BYTES = 1 << 20
LOUDEST_FADER = 2.0  # what the format's own examples give as the range of a volume
TEMPO_BPM = 120.0


def write_dawproject(session: Session, path: Path, workspace: Path, program: str) -> None:
    """Write the session to `path`; `workspace` takes stems that are no WAV files yet.

    The same session gives the same bytes. Files above 4 GiB make it a zip64.
    """
    names = _media_names(session)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _add_text(archive, "metadata.xml", _metadata(session, program))
        _add_text(archive, "project.xml", _project(session, names, program))
        for track, name in zip(session.tracks, names, strict=True):
            _add_file(archive, name, _as_wave(track, workspace))
        for number, track in enumerate(session.tracks):
            for place, device in enumerate(track.devices):
                archive.writestr(_entry(_state_name(number, place)), device.state)


def _media_names(session: Session) -> list[str]:
    """Plain names: importers differ in which letters they bear."""
    return [
        f"audio/{number:02d}-{_plain(track.name)}.wav"
        for number, track in enumerate(session.tracks)
    ]


def _plain(name: str) -> str:
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return kept.strip("-") or "track"


def _state_name(track: int, place: int) -> str:
    return f"plugins/{track:02d}-{place}.vstpreset"


def _as_wave(track: DawTrack, workspace: Path) -> Path:
    """The track's file, written anew as WAV at its own depth where it is none."""
    with MixReader(track.file) as reader:
        info = reader.info
        if info.container in WAVE_CONTAINERS:
            return track.file
        encoding = "pcm" if info.encoding == "pcm" else "float"
        bits = info.bits if encoding == "pcm" else max(info.bits, 32)
        target = workspace / f"{track.file.stem}.wav"
        fmt = FileFormat("wav", encoding, bits, info.channels, info.sample_rate)  # type: ignore[arg-type]
        with StemWriter(target, fmt) as writer:
            while (block := reader.read(BLOCK_FRAMES)).frames:
                writer.write(block.exact)
    return target


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


def _add_text(archive: zipfile.ZipFile, name: str, root: ET.Element) -> None:
    ET.indent(root)
    archive.writestr(_entry(name), ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def _add_file(archive: zipfile.ZipFile, name: str, source: Path) -> None:
    entry = _entry(name)
    entry.file_size = source.stat().st_size  # known beforehand, so that zip64 is chosen in time
    with source.open("rb") as file, archive.open(entry, "w") as target:
        while block := file.read(COPY_BYTES):
            target.write(block)


def _metadata(session: Session, program: str) -> ET.Element:
    root = ET.Element("MetaData")
    ET.SubElement(root, "Title").text = _text(session.title)
    ET.SubElement(root, "Comment").text = f"Stems by {program}"
    return root


def _text(words: str) -> str:
    """Without what XML 1.0 cannot hold at all: control characters and lone surrogates."""
    return "".join(
        letter
        for letter in words
        if letter in "\t\n"
        or (letter >= " " and not 0xD800 <= ord(letter) <= 0xDFFF and letter not in "\ufffe\uffff")
    )


def _project(session: Session, names: list[str], program: str) -> ET.Element:
    name, _, version = program.partition(" ")
    root = ET.Element("Project", version="1.0")
    ET.SubElement(root, "Application", name=name, version=version or "0")
    transport = ET.SubElement(root, "Transport")
    ET.SubElement(
        transport, "Tempo", id="tempo", name="Tempo", unit="bpm",
        value=f"{TEMPO_BPM}", min="20.0", max="666.0",
    )  # fmt: skip
    ET.SubElement(transport, "TimeSignature", id="meter", numerator="4", denominator="4")
    structure = ET.SubElement(root, "Structure")
    for number, track in enumerate(session.tracks):
        structure.append(_track(number, track))
    structure.append(_master(session))
    root.append(_arrangement(session, names))
    return root


def _track(number: int, track: DawTrack) -> ET.Element:
    element = ET.Element(
        "Track", id=f"track-{number}", name=_text(track.name), color=track.colour,
        contentType="audio", loaded="true",
    )  # fmt: skip
    channel = ET.SubElement(
        element, "Channel", id=f"channel-{number}", role="regular",
        audioChannels=str(track.channels), solo="false", destination="channel-master",
    )  # fmt: skip
    if track.devices:
        devices = ET.SubElement(channel, "Devices")
        for place, device in enumerate(track.devices):
            devices.append(_device(number, place, device))
    _mixer(channel, f"{number}", track.gain, muted=track.muted)
    return element


def _device(number: int, place: int, device: PluginDevice) -> ET.Element:
    name = _text(device.name)
    element = ET.Element(
        "Vst3Plugin", id=f"device-{number}-{place}", name=name, deviceName=name,
        deviceID=device.class_id, deviceRole="audioFX", loaded="true",
    )  # fmt: skip
    ET.SubElement(element, "Enabled", id=f"enabled-{number}-{place}", value="true")
    ET.SubElement(element, "State", path=_state_name(number, place), external="false")
    return element


def _mixer(channel: ET.Element, key: str, gain: float, *, muted: bool) -> None:
    ET.SubElement(channel, "Mute", id=f"mute-{key}", name="Mute", value=str(muted).lower())
    ET.SubElement(
        channel, "Pan", id=f"pan-{key}", name="Pan", unit="normalized", value="0.5",
        min="0.0", max="1.0",
    )  # fmt: skip
    ET.SubElement(
        channel, "Volume", id=f"volume-{key}", name="Volume", unit="linear", value=f"{gain:.9g}",
        min="0.0", max=f"{max(LOUDEST_FADER, gain):.9g}",
    )  # fmt: skip


def _master(session: Session) -> ET.Element:
    widest = max(track.channels for track in session.tracks)
    element = ET.Element(
        "Track", id="track-master", name="Master", contentType="audio", loaded="true"
    )
    channel = ET.SubElement(
        element, "Channel", id="channel-master", role="master", audioChannels=str(widest),
        solo="false",
    )  # fmt: skip
    _mixer(channel, "master", 1.0, muted=False)
    return element


def _arrangement(session: Session, names: list[str]) -> ET.Element:
    element = ET.Element("Arrangement", id="arrangement")
    lanes = ET.SubElement(element, "Lanes", id="lanes", timeUnit="seconds")
    for number, (track, name) in enumerate(zip(session.tracks, names, strict=True)):
        lane = ET.SubElement(lanes, "Lanes", id=f"lane-{number}", track=f"track-{number}")
        clips = ET.SubElement(lane, "Clips", id=f"clips-{number}")
        duration = f"{track.duration_s:.9f}"
        clip = ET.SubElement(
            clips, "Clip", time=f"{track.start_s:.9f}", duration=duration, playStart="0.0",
            contentTimeUnit="seconds", fadeTimeUnit="seconds", fadeInTime="0.0", fadeOutTime="0.0",
            name=_text(track.name),
        )  # fmt: skip
        audio = ET.SubElement(
            clip, "Audio", id=f"audio-{number}", duration=duration, algorithm="raw",
            channels=str(track.channels), sampleRate=str(track.sample_rate),
        )  # fmt: skip
        ET.SubElement(audio, "File", path=name, external="false")
    if session.worst:
        markers = ET.SubElement(element, "Markers", id="markers", timeUnit="seconds")
        start_s = session.tracks[0].start_s + session.worst.start_s
        words = f"listen: {session.worst.stem}"
        ET.SubElement(markers, "Marker", time=f"{start_s:.9f}", name=_text(words))
    return element
