"""Where a running daemon's dashboard is: its address, and the token that its buttons need."""

from __future__ import annotations

import json
from pathlib import Path

from presets import StemwrightError

from .atomic import write_whole

ADDRESS_FILE = "dashboard-address"
TOKEN_FILE = "dashboard-token"


def keep_address(state: Path, url: str, *, own_token: bool) -> None:
    """Write down where the dashboard listens, for `stemwright dashboard`."""
    write_whole(state / ADDRESS_FILE, json.dumps({"url": url, "own_token": own_token}) + "\n")


def dashboard_address(root: Path, state: Path) -> str:
    """The address, with the token behind `#` where the daemon made one.

    What stands behind `#` is sent to no server. A token of the settings is not repeated: whoever
    set it has it.
    """
    try:
        kept = json.loads((state / ADDRESS_FILE).read_text(encoding="utf-8"))
        url, own = str(kept["url"]), bool(kept["own_token"])
        token = (state / TOKEN_FILE).read_text(encoding="ascii").strip() if own else ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StemwrightError(
            "no-dashboard",
            f"{root}: no daemon has opened a dashboard here. It needs `http: {{port: 8080}}` in "
            "the settings and the packages of the extra `web` (pip install 'stemwright[web]').",
        ) from error
    return f"{url}/#token={token}" if token else f"{url}/"
