"""What a hot folder may be told: one YAML file, every key optional, unknown keys refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine import AUDIO_SUFFIXES
from presets import StemwrightError, Tier, describe_errors, read_strict

from .companions import voices_wanted
from .filenames import NameRules

SECRET = ("http", "token")  # keys below which no value is repeated in a message
Existing = Literal["skip-if-same", "version", "fail"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RetrySettings(_Section):
    """How often and after how long a failed job is tried again."""

    first_s: float = Field(10, gt=0, description="wait before the second attempt")
    longest_s: float = Field(1800, gt=0, description="no wait is longer; each is twice the last")
    attempts: int = Field(6, ge=1, description="after so many faults of its own: quarantine")


class WorkerSettings(_Section):
    """What one child process may use."""

    memory_mb: int = Field(8192, ge=16, description="resident memory, above which it is ended")
    wall_limit_s: float = Field(21600, gt=0, description="wall-clock time of one attempt")
    device: str = Field("auto", description="execution provider, as for `stemwright separate`")
    strict_device: bool = Field(False, description="fail rather than fall back to the CPU")
    seed: int = Field(0, ge=0, description="seed of search and dither")
    tier: Tier | None = Field(None, description="overrides the preset's search tier")
    threads: int = Field(0, ge=0, description="threads of one worker; 0 is all physical cores")
    prior_folders: tuple[str, ...] = Field((), description="folders with further priors")
    separator_folders: tuple[str, ...] = Field(
        (), description="folders with further cards of separators"
    )
    unchecked_separators: Literal["refuse", "warn"] = Field(
        "refuse", description="a card without a lock of its check: refuse it, or mark the set"
    )
    commercial_only: bool = Field(
        False, description="refuse cards whose commercial use is not allowed or unknown"
    )
    deadline_s: float | None = Field(
        None, ge=0, description="per mix: the best by then, marked degraded"
    )

    @model_validator(mode="after")
    def _strict_about_a_device(self) -> WorkerSettings:
        if self.strict_device and self.device == "auto":
            raise ValueError("strict_device needs a device by name, such as device: cuda")
        return self


class HttpSettings(_Section):
    """The optional endpoint with `/health` and `/metrics`."""

    port: int = Field(ge=0, le=65535, description="0 takes any free port and logs it")
    host: str = Field("127.0.0.1", description="an address of this machine")
    token: str | None = Field(
        None, min_length=16, description="needed unless the host is a loopback address"
    )

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> HttpSettings:
        if not _is_loopback(self.host) and self.token is None:
            raise ValueError(f"host {self.host} can be reached from outside: give a token")
        return self


class HotFolderSettings(_Section):
    """All settings of `stemwright watch`."""

    preset: str = Field(
        "default", min_length=1, description="preset of files outside a preset's sub-folder"
    )
    folders: dict[str, str] = Field(
        {}, description="sub-folder of the inbox: preset; presets' own names need no entry"
    )
    watch: Literal["events", "polling"] = Field(
        "events", description="polling: for network shares, which send no events"
    )
    scan_s: float = Field(2, gt=0, description="seconds between two looks at the inbox")
    settle_s: float = Field(5, ge=0, description="a file must be unchanged for so long")
    incomplete_after_s: float = Field(
        600, ge=0, description="a file still incomplete so long after its last change has failed"
    )
    ready_marker: bool = Field(
        False, description="start on song.wav only when song.wav.ready is there"
    )
    score_wait_s: float = Field(
        30, ge=0, description="a mix for voices waits so long for song.mid before it is tracked"
    )
    suffixes: tuple[str, ...] = Field(AUDIO_SUFFIXES, description="endings of mixes")
    ignore: tuple[str, ...] = Field((), description="further names to leave alone, as globs")
    max_depth: int = Field(8, ge=0, le=64, description="levels of sub-folders that are entered")
    jobs: int = Field(1, ge=1, le=64, description="mixes worked on at the same time")
    existing: Existing = Field(
        "skip-if-same",
        description="when a set is there: skip the same work, else number; number always; or fail",
    )
    high_water_percent: float = Field(
        95, gt=0, le=100, description="no new job while a disk is fuller than this"
    )
    plugin_folders: tuple[str, ...] | None = Field(
        None, description="presets may name plug-ins in these folders only"
    )
    retry: RetrySettings = RetrySettings()
    worker: WorkerSettings = WorkerSettings()
    http: HttpSettings | None = Field(None, description="endpoint for health and metrics")

    @property
    def name_rules(self) -> NameRules:
        """The rules by which the inventory tells mixes from other files."""
        return NameRules(tuple(suffix.lower() for suffix in self.suffixes), self.ignore)


def load_settings(path: Path) -> HotFolderSettings:
    """Read a settings file; an error names line and column of everything that is wrong."""
    try:
        document = read_strict(path.read_bytes(), str(path), secret=SECRET)
    except OSError as error:
        sentence = f"{path}: cannot be read: {error.strerror}."
        raise StemwrightError("settings-invalid", sentence) from error
    except StemwrightError as error:
        raise StemwrightError("settings-invalid", *error.lines) from error
    try:
        return HotFolderSettings.model_validate(document.data or {}, strict=True)
    except ValidationError as error:
        lines = describe_errors(error, document, HotFolderSettings)
        raise StemwrightError("settings-invalid", *lines) from None


def loggable(settings: HotFolderSettings) -> dict[str, object]:
    """The settings without their secret, for a line of the log."""
    return settings.model_dump(mode="json", exclude={"http": {"token"}})


def preset_of(source: Path, settings: HotFolderSettings, known: Mapping[str, str]) -> str:
    """The preset for a file: that of its folder directly below the inbox, else the default.

    `known` maps folder names in lower case to presets.
    """
    folder = source.parts[0].lower() if len(source.parts) > 1 else ""
    return known.get(folder, settings.preset)


def takes_companions(settings: HotFolderSettings) -> Callable[[Path], bool]:
    """Whether what lies beside a mix goes with it, by the preset that the mix has now."""
    known = known_folders(settings)
    return lambda mix: voices_wanted(preset_of(mix, settings, known)) is not None


def allowed_preset(name: str, source: Path, settings: HotFolderSettings) -> str:
    """A preset that a file on the share names, if these settings would use it, too.

    Whoever may write there chooses among the presets, but not a path to read with our rights.
    """
    known = known_folders(settings)
    allowed = {settings.preset, *known.values()}
    return name if name in allowed else preset_of(source, settings, known)


def known_folders(settings: HotFolderSettings) -> dict[str, str]:
    """Folder names in lower case and their presets: the settings' own before presets' names."""
    from presets import preset_names

    names = {name.lower(): name for name in preset_names()}
    return names | {folder.lower(): preset for folder, preset in settings.folders.items()}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
