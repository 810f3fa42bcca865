"""Which channel is which loudspeaker: pairs to separate together, and loudness weights."""

from __future__ import annotations

from dataclasses import dataclass

# The bits of WAVEFORMATEXTENSIBLE's dwChannelMask, in the order channels are stored.
SPEAKERS = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"),
    *("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
# What a file without a mask means by its number of channels (ITU-R BS.775 and usage).
USUAL_LAYOUTS = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
PAIRS = (("FL", "FR"), ("SL", "SR"), ("BL", "BR"), ("FLC", "FRC"), ("TFL", "TFR"), ("TBL", "TBR"))
SINGLES = ("FC", "BC", "TC", "TFC", "TBC")


@dataclass(frozen=True)
class ChannelGroups:
    """Channel numbers that are separated together, and those given to the residual whole."""

    groups: tuple[tuple[int, ...], ...]
    residual_only: tuple[int, ...]


def speakers(channels: int, mask: int | None = None) -> tuple[str, ...]:
    """The loudspeaker of every channel; `?` where neither mask nor usage names one."""
    if mask:
        named = [name for bit, name in enumerate(SPEAKERS) if mask >> bit & 1]
    else:
        named = list(USUAL_LAYOUTS.get(channels, ()))
    return tuple((named + ["?"] * channels)[:channels])


def usable_mask(channels: int, mask: int | None) -> int | None:
    """The mask when it names every channel, and one of them at least can be separated.

    None for a mask that belongs to other channels, such as one bit for two of them or
    SPEAKER_ALL: the usual layout is a better guess than half a wrong one.
    """
    if not mask or mask >> len(SPEAKERS) or mask.bit_count() != channels:
        return None
    return mask if channel_groups(channels, mask).groups else None


def layout_notes(channels: int, stated: int | None) -> tuple[str, ...]:
    """What a person should know of how a file's channels were understood."""
    mask, notes = usable_mask(channels, stated), []
    names = speakers(channels, mask)
    if stated and mask is None:
        notes.append(
            f"its channel mask 0x{stated:X} does not fit its {_counted(channels)}, taken as "
            f"{' '.join(names)}"
        )
    unnamed = [str(number) for number, name in enumerate(names, start=1) if name == "?"]
    if unnamed and len(unnamed) < channels:
        notes.append(f"no loudspeaker named for channel {', '.join(unnamed)}: residual only")
    return tuple(notes)


def channel_groups(channels: int, mask: int | None = None) -> ChannelGroups:
    """The written map: left and right together, others alone, LFE and unnamed to the residual."""
    names = speakers(channels, mask)
    groups = [
        tuple(names.index(side) for side in pair) for pair in PAIRS if set(pair) <= set(names)
    ]
    groups += [(names.index(name),) for name in SINGLES if name in names]
    paired = {channel for group in groups for channel in group}
    groups += [  # a left without its right, such as the mono file of one side
        (channel,)
        for channel, name in enumerate(names)
        if channel not in paired and name not in ("LFE", "?")
    ]
    taken = {channel for group in groups for channel in group}
    rest = tuple(channel for channel in range(channels) if channel not in taken)
    return ChannelGroups(tuple(groups), rest)


def loudness_weights(channels: int, mask: int | None = None) -> tuple[float, ...]:
    """BS.1770-4 table 4: 1.41 for loudspeakers beside the listener, none for the LFE."""
    names = speakers(channels, mask)
    beside = ("SL", "SR") if "SL" in names else ("BL", "BR")
    return tuple(0.0 if name == "LFE" else 1.41 if name in beside else 1.0 for name in names)


def _counted(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"
