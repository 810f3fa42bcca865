"""Takes the pictures of docs/listen.md: separates the example, opens its page in Chromium.

`python bench/screenshots.py docs` writes listen.png and listen-narrow.png.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE / "tests"))

from browser_fixtures import browser  # noqa: E402 - the tests' own browser
from engine import RenderOptions, render  # noqa: E402
from engine.listening.page import write_report  # noqa: E402
from presets import load_preset  # noqa: E402

MIX = HERE / "examples" / "mix.flac"


def main() -> None:
    """Write the pictures into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / "mix"
        render(MIX, work, load_preset("default"), RenderOptions(tier="draft", device="cpu"))
        address = write_report(work, "light", MIX).as_uri()
        with browser(1280, 900) as driver:
            driver.get(f"{address}#t=11.5&mode=dry")
            driver.save_screenshot(str(folder / "listen.png"))
        with browser(390, 844) as driver:
            driver.get(f"{address}#t=11.5&solo=vocals")
            driver.save_screenshot(str(folder / "listen-narrow.png"))


if __name__ == "__main__":
    main()
