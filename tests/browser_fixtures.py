"""A real browser, headless; tests that need one say so where none can be had."""

import json
import shutil
from contextlib import contextmanager

import pytest

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
except ImportError:  # pragma: no cover - without the development packages
    webdriver = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (webdriver and CHROMIUM and DRIVER), reason="needs selenium, chromium and chromium-driver"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--mute-audio",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
)


@contextmanager
def browser(width=1280, height=800):
    """A driver that logs what the page says and whom it asks."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def requests(driver):
    """Every address that was asked for since the last call."""
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def complaints(driver):
    """What the console has to say, warnings too."""
    return [entry["message"] for entry in driver.get_log("browser")]
