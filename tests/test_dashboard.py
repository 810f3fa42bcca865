"""The dashboard: who may ask what, what the buttons do, and the page in a real browser."""

import http.client
import json
import re
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")

from browser_fixtures import browser, complaints, needs_browser, requests
from engine import RenderOptions, render
from hotfolder.cli.folder_commands import _dashboard_or_health
from hotfolder.dashboard_address import dashboard_address
from hotfolder.job import State
from hotfolder_fixtures import Studio, make_mix, settings_of
from presets import load_preset

TOKEN = "a token of the settings"


@contextmanager
def running(folder, token=None, **settings):
    """A hot folder in this process with its dashboard; rounds go on while something is awaited."""
    http_settings = {"port": 0} | ({"token": token} if token else {})
    studio = Studio(folder, settings_of(http=http_settings, **settings))
    studio.start(serve=_dashboard_or_health)
    try:
        yield studio
    finally:
        studio.close()


def own_token(studio):
    return dashboard_address(studio.root, studio.state).partition("#token=")[2]


def ask(studio, method, path, token=None, body=None, **headers):
    """One request: its code, what it says (JSON where it is) and its headers."""
    host, port = studio.daemon.http_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.putrequest(method, path, skip_host="Host" in headers)
    content = json.dumps(body or {}).encode() if method == "POST" else b""
    for name, value in {**headers, "Content-Length": str(len(content))}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(content)
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    is_json = "json" in answer.headers.get("Content-Type", "")
    return answer.status, json.loads(raw) if is_json else raw, answer.headers


def jobs(studio, group):
    return ask(studio, "GET", f"/api/jobs?group={group}")[1]["rows"]


def until(studio, done, limit_s=60.0):
    """Rounds of the daemon until a condition holds; gives what it gave."""
    end = time.monotonic() + limit_s
    while not (found := done()):
        assert time.monotonic() < end, studio.states()
        studio.round(0.05)
        time.sleep(0.02)
    return found


# -- who may ask ---------------------------------------------------------------------------------


def test_reading_on_loopback_is_open_and_changing_needs_the_token(tmp_path):
    with running(tmp_path) as studio:
        token = own_token(studio)
        assert len(token) > 30
        assert (studio.state / "dashboard-token").stat().st_mode & 0o077 == 0
        assert ask(studio, "GET", "/")[0] == 200
        assert ask(studio, "GET", "/api/overview")[0] == 200
        for path in ("/api/pause", "/api/jobs/x/retry", "/api/jobs/x/cancel", "/login"):
            assert ask(studio, "POST", path)[0] == 401, path
            assert ask(studio, "POST", path, token="wrong")[0] == 401, path
        assert ask(studio, "POST", "/api/pause", token)[0] == 200
        assert studio.daemon.journal.setting("paused")
        assert ask(studio, "POST", "/api/resume", token)[0] == 200


def test_a_token_of_the_settings_guards_reading_too_and_is_not_repeated(tmp_path):
    with running(tmp_path, token=TOKEN) as studio:
        assert ask(studio, "GET", "/api/overview")[0] == 401
        assert ask(studio, "GET", "/health")[0] == 401
        assert ask(studio, "GET", "/health", TOKEN)[0] in (200, 503)
        assert TOKEN not in dashboard_address(studio.root, studio.state)
        _, _, headers = ask(studio, "POST", "/login", TOKEN)
        cookie = headers["Set-Cookie"].split(";")[0]
        assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=strict" in headers["Set-Cookie"]
        assert TOKEN not in cookie
        assert ask(studio, "GET", "/api/overview", Cookie=cookie)[0] == 200
        assert ask(studio, "POST", "/api/pause", Cookie=cookie)[0] == 401, "reading only"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_a_name_that_was_rebound_is_refused(tmp_path, host):
    with running(tmp_path) as studio:
        assert ask(studio, "GET", "/api/overview", Host=host)[0] == 421
        assert ask(studio, "POST", "/api/pause", own_token(studio), Host=host)[0] == 421


def test_another_page_cannot_press_a_button(tmp_path):
    with running(tmp_path) as studio:
        token, own = own_token(studio), studio.daemon.http_url
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            assert ask(studio, "POST", "/api/pause", token, Origin=origin)[0] == 403
        assert ask(studio, "POST", "/api/pause", token, Origin=own)[0] == 200


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b"[" * 3000, b'{"preset": 5}', b'{"preset": "' + b"x" * 9000 + b'"}']
)
def test_a_body_that_is_no_request_is_refused(tmp_path, body):
    with running(tmp_path) as studio:
        host, port = studio.daemon.http_url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        headers = {"Authorization": f"Bearer {own_token(studio)}"}
        connection.request("POST", "/api/jobs/x/retry", body, headers)
        assert connection.getresponse().status in (404, 409)
        connection.close()


# -- what the buttons do -------------------------------------------------------------------------


def test_a_failed_mix_is_tried_again_with_another_preset(tmp_path):
    with running(tmp_path) as studio:
        token = own_token(studio)
        (studio.root / "inbox" / "broken.wav").write_bytes(b"no audio at all")
        [row] = until(studio, lambda: jobs(studio, "failed"))
        assert row["can"] == ["retry"] and "no audio" in row["why"]
        code, answer, _ = ask(
            studio, "POST", f"/api/jobs/{row['id']}/retry", token, {"preset": "no-such-preset"}
        )
        assert code == 409 and "no-such-preset" in answer["message"]
        code, _, _ = ask(studio, "POST", f"/api/jobs/{row['id']}/retry", token, {"preset": "rock"})
        assert code == 200
        job = studio.daemon.journal.get(row["id"])
        assert (job.state, job.preset) == (State.RETRY_AT, "rock")


def test_a_waiting_mix_is_cancelled_and_lies_in_failed(tmp_path):
    with running(tmp_path) as studio:
        token = own_token(studio)
        ask(studio, "POST", "/api/pause", token)
        make_mix(studio.root / "inbox" / "song.wav")
        [row] = until(studio, lambda: [r for r in jobs(studio, "waiting") if "paused" in r["why"]])
        assert ask(studio, "POST", f"/api/jobs/{row['id']}/cancel", token)[0] == 200
        [row] = until(studio, lambda: jobs(studio, "failed"))
        assert "somebody cancelled it" in row["why"]
        assert not list((studio.root / "inbox").rglob("song.wav"))
        assert list((studio.root / "failed").rglob("song.wav"))
        assert not studio.daemon.journal.cancel_asked()


def test_work_is_cancelled_and_can_be_taken_up_again(tmp_path):
    with running(tmp_path) as studio:
        token = own_token(studio)
        make_mix(studio.root / "inbox" / "hang.wav")
        [row] = until(studio, lambda: [r for r in jobs(studio, "work") if r["state"] == "decoded"])
        assert ask(studio, "POST", f"/api/jobs/{row['id']}/cancel", token)[0] == 200
        [row] = until(studio, lambda: jobs(studio, "failed"))
        assert "cancelled" in row["why"] and not studio.daemon.pool.in_work
        assert not list((studio.root / "outbox").glob("hang*"))
        assert list((studio.root / "failed").rglob("hang.wav"))
        assert ask(studio, "POST", f"/api/jobs/{row['id']}/retry", token)[0] == 200
        [row] = until(studio, lambda: jobs(studio, "work"))
        assert not studio.daemon.journal.cancel_asked(), "the old word does not end the new try"


def test_what_is_done_cannot_be_cancelled(tmp_path):
    with running(tmp_path) as studio:
        make_mix(studio.root / "inbox" / "song.wav")
        [row] = until(studio, lambda: jobs(studio, "done"))
        assert row["can"] == ["listen"]
        code, answer, _ = ask(studio, "POST", f"/api/jobs/{row['id']}/cancel", own_token(studio))
        assert code == 409 and "nothing to cancel" in answer["message"]


# -- sets ----------------------------------------------------------------------------------------


@pytest.fixture
def with_set(tmp_path, rng, tiny_prior_folder):
    """A hot folder whose journal knows one real finished set."""
    import soundfile

    with running(tmp_path) as studio:
        make_mix(studio.root / "inbox" / "song.wav")
        [row] = until(studio, lambda: jobs(studio, "done"))
        job = studio.daemon.journal.get(row["id"])
        preset = tmp_path / "tiny.yaml"
        preset.write_text("stems: {low: {}, high: {}}\nsearch: {tier: draft}\n")
        mix = tmp_path / "real.wav"
        soundfile.write(mix, 0.1 * rng.standard_normal((30000, 2)), 44100)
        options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")
        job.destination.rename(tmp_path / "toy")
        render(mix, job.destination, load_preset(preset), options)
        yield studio, job


def test_stems_are_served_by_their_place_and_in_pieces(with_set):
    studio, job = with_set
    code, answer, _ = ask(studio, "GET", f"/api/jobs/{job.id}")
    assert code == 200 and [file["stem"] for file in answer["files"]] == [
        "low",
        "high",
        "residual",
    ]
    code, whole, headers = ask(studio, "GET", f"/api/jobs/{job.id}/files/0")
    assert code == 200 and headers["Accept-Ranges"] == "bytes"
    code, piece, headers = ask(studio, "GET", f"/api/jobs/{job.id}/files/0", Range="bytes=100-199")
    assert code == 206 and piece == whole[100:200]
    assert headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
    assert ask(studio, "GET", f"/api/jobs/{job.id}/files/9")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/../../etc/passwd", "/api/jobs/{id}/files/../../x", "/../../etc/passwd",
        "/sets/{id}/report/../manifest.json", "/sets/{id}/report/%2e%2e%2fmanifest.json",
        "/sets/{id}/report/dry-0-0.js%00", "/sets/{id}/report/x.js", "/sets/nobody/report.html",
        "/sets/{id}/../../../etc/passwd",
    ],
)  # fmt: skip
def test_no_path_of_a_client_leads_anywhere(with_set, path):
    studio, job = with_set
    assert ask(studio, "GET", path.format(id=job.id))[0] == 404


def test_a_link_out_of_a_set_is_not_followed(with_set, tmp_path):
    studio, job = with_set
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (job.destination / "report.html").symlink_to(secret)
    assert ask(studio, "GET", f"/sets/{job.id}/report.html")[0] == 404


def test_days_add_up(with_set):
    studio, _ = with_set
    days = ask(studio, "GET", "/api/overview")[1]["days"]
    assert sum(day["done"] for day in days) == 1


PRESS = """
const [words, name] = arguments, rows = [...document.querySelectorAll("#rows tr[data-id]")];
const row = rows.find((each) => each.textContent.includes(words));
const buttons = row ? [...row.querySelectorAll("button")] : [];
const button = buttons.find((each) => each.textContent === name);
if (button) button.click();
return Boolean(button);
"""


@needs_browser
def test_drop_see_listen_retry_and_cancel_in_a_browser(with_set):
    studio, _ = with_set
    with browser(1280, 900) as driver:
        driver.get(dashboard_address(studio.root, studio.state))
        assert "token" not in driver.current_url, "it does not stay in the address bar"

        def press(group, words, button):
            """Turn to a group, wait for a row with these words, press its button: in the page
            itself, which draws its rows anew meanwhile."""
            driver.execute_script(f"document.querySelector('[data-group={group}]').click()")
            until(studio, lambda: driver.execute_script(PRESS, words, button))

        until(studio, lambda: driver.find_elements("css selector", "[data-group=done]"))
        (studio.root / "inbox" / "broken.wav").write_bytes(b"nothing that sounds")
        press("failed", "broken.wav", "Retry")
        until(studio, lambda: "attempt" in driver.find_element("id", "message").text)
        make_mix(studio.root / "inbox" / "hang.wav")
        press("work", "hang.wav", "Cancel")
        press("failed", "somebody cancelled it", "More")
        press("done", "song.wav", "Listen")
        until(studio, lambda: len(driver.window_handles) == 2)
        driver.switch_to.window(driver.window_handles[-1])
        until(studio, lambda: driver.find_elements("css selector", ".lane"))
        assert len(driver.find_elements("css selector", ".lane")) == 4
        assert complaints(driver) == []
        asked = [url for url in requests(driver) if url.startswith("http")]
        assert all(url.startswith(studio.daemon.http_url) for url in asked)


def test_the_page_has_what_its_script_looks_for():
    page = Path(__file__).parents[1] / "hotfolder" / "dashboard" / "assets" / "dashboard.html"
    text = page.read_text(encoding="utf-8")
    wanted = set(re.findall(r'(?<!\.)get\("([a-z-]+)"\)', text))
    assert wanted and wanted <= set(re.findall(r'id="([a-z-]+)"', text))
