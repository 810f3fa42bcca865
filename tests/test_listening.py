"""The page to listen to a set: what is in it, and how it behaves in a real browser."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from browser_fixtures import browser, complaints, needs_browser, requests
from engine import RenderOptions, load_manifest, render
from engine.listening.page import script_json, write_report
from engine.listening.passages import worst_passages
from presets import StemwrightError, load_preset

RATE = 44100


def mix_of(rng, seconds, channels=2, level=0.1):
    time = np.arange(round(RATE * seconds))[:, None] / RATE
    tones = sum(level * np.sin(2 * np.pi * f * time) for f in (110, 440, 3000))
    return tones + level / 2 * rng.standard_normal((len(time), channels))


@pytest.fixture(scope="module")
def song(tmp_path_factory, tiny_prior_folder):
    """A set of 45 s with wet stems, and its page."""
    folder = tmp_path_factory.mktemp("song")
    rng = np.random.default_rng(5)
    mix = folder / "song.wav"
    soundfile.write(mix, mix_of(rng, 45), RATE, subtype="PCM_16")
    preset = folder / "tiny.yaml"
    preset.write_text(
        "stems:\n  low: {chain: [{effect: Gain, gain_db: 6}]}\n  high: {}\nsearch: {tier: draft}\n"
        "output: {report: light}\n"
    )
    options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")
    render(mix, folder / "set", load_preset(preset), options)
    return folder


def page_data(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r"window\.SW_DATA = (.*?);</script>", text, re.S)[1])


def preview(folder, key):
    """The integers of a lane, decoded from all of its scripts."""
    data = page_data(folder)
    blocks = []
    for block in range(-(-data["frames"] // data["block"])):
        script = (folder / "report" / f"{key}-{block}.js").read_text()
        coded = re.fullmatch(rf'SW\.take\("{key}",{block},"([A-Za-z0-9+/=]+)"\);\n', script)[1]
        audio, rate = soundfile.read(
            io.BytesIO(base64.b64decode(coded)), dtype="int16", always_2d=True
        )
        assert rate == data["rate"]
        blocks.append(audio.astype(int))
    return np.concatenate(blocks)


# -- what is in it -------------------------------------------------------------------------------


def test_a_preset_asks_for_a_page_and_the_set_is_as_it_was(song):
    folder = song / "set"
    assert (folder / "report.html").is_file()
    assert {file.kind for file in load_manifest(folder).files} == {"dry", "wet"}
    assert (
        load_preset(song / "tiny.yaml").digest()
        == load_preset(song / "tiny.yaml")
        .model_copy(update={"output": load_preset("default").output})
        .digest()
    )


def test_lanes_are_the_mix_and_every_file(song):
    data = page_data(song / "set")
    assert [(lane["stem"], lane["kind"]) for lane in data["lanes"]] == [
        ("mix", "mix"), ("low", "dry"), ("low", "wet"), ("high", "dry"), ("high", "wet"),
        ("residual", "dry"), ("residual", "wet"),
    ]  # fmt: skip
    assert data["frames"] == pytest.approx(45 * data["rate"], abs=2)


@pytest.mark.parametrize("quality", ["light", "standard", "full"])
def test_previews_null_to_the_last_bit(tmp_path, song, quality):
    folder = shutil.copytree(song / "set", tmp_path / "set")
    write_report(folder, quality, song / "song.wav")
    data = page_data(folder)
    dry = [preview(folder, lane["key"]) for lane in data["lanes"] if lane["kind"] == "dry"]
    np.testing.assert_array_equal(preview(folder, "mix"), sum(dry))
    assert np.abs(preview(folder, "mix")).max() > 1000


def test_another_mix_is_refused_and_the_page_that_was_there_stays(tmp_path, song):
    folder = shutil.copytree(song / "set", tmp_path / "set")
    before = (folder / "report.html").read_bytes()
    soundfile.write(tmp_path / "other.wav", np.zeros((RATE, 2)), RATE)
    with pytest.raises(StemwrightError, match="not the file that this set was made of"):
        write_report(folder, "light", tmp_path / "other.wav")
    assert (folder / "report.html").read_bytes() == before


def test_a_set_that_does_not_sum_to_its_mix_is_heard(tmp_path, song):
    folder = shutil.copytree(song / "set", tmp_path / "set")
    broken = folder / load_manifest(folder).files[0].path
    audio, rate = soundfile.read(broken, dtype="int16", always_2d=True)
    audio[RATE : RATE + 4410] //= 2
    soundfile.write(broken, audio, rate, subtype="PCM_16")
    write_report(folder, "light", song / "song.wav")
    data = page_data(folder)
    dry = [preview(folder, lane["key"]) for lane in data["lanes"] if lane["kind"] == "dry"]
    null = np.abs(preview(folder, "mix") - sum(dry))
    assert null[data["rate"] : data["rate"] + 1600].max() > 100
    assert null[2 * data["rate"] :].max() == 0


def test_loud_mixes_keep_their_headroom(tmp_path, rng, tiny_prior_folder):
    mix = tmp_path / "hot.wav"
    soundfile.write(mix, mix_of(rng, 1, level=1.5), RATE, subtype="FLOAT")
    preset = tmp_path / "tiny.yaml"
    preset.write_text("stems: {low: {}, high: {}}\nsearch: {tier: draft}\n")
    options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")
    render(mix, tmp_path / "set", load_preset(preset), options)
    write_report(tmp_path / "set", "full", mix)
    data = page_data(tmp_path / "set")
    assert data["gain"] >= 4
    loudest = np.abs(preview(tmp_path / "set", "mix")).max() / 32768 * data["gain"]
    assert loudest == pytest.approx(np.abs(soundfile.read(mix)[0]).max(), rel=1e-3)
    assert any("above full scale" in passage["why"] for passage in data["passages"])


def test_passages_say_where_and_why(song):
    passages = page_data(song / "set")["passages"]
    assert any("masks are least certain" in passage["why"] for passage in passages)
    assert [p["start"] for p in passages] == sorted(p["start"] for p in passages)
    assert worst_passages.__doc__


@pytest.mark.parametrize("text", ["</script><b>", "<!--", "a & b", "line\u2028feed", '"quotes"'])
def test_no_text_leaves_the_script_it_stands_in(text):
    coded = script_json({"title": text})
    assert not re.search(r"[<>&\u2028\u2029]", coded)
    assert json.loads(coded) == {"title": text}


def test_a_page_without_a_mix_at_hand_sums_the_stems(tmp_path, song):
    folder = shutil.copytree(song / "set", tmp_path / "set")
    with_mix = preview(folder, "mix")
    write_report(folder, "light")
    assert np.abs(preview(folder, "mix") - with_mix).max() <= 3  # rounding of three stems


# -- in a browser --------------------------------------------------------------------------------

PEAK = """
const [lanes, from, seconds, done] = arguments;
SW.renderOffline(lanes, from * SW.data.rate, seconds * SW.data.rate).then(
  (all) => done(all.flatMap((c) => [...c]).reduce((p, s) => Math.max(p, Math.abs(s)), 0)),
  (error) => done(String(error)));
"""
WAIT_PLAYING = """
const [least, done] = arguments, begun = SW.frame();
const moved = () => SW.playing && SW.frame() - begun > least * SW.data.rate;
const look = () => moved() ? done(true) : setTimeout(look, 20);
look();
"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as driver:
        yield driver


@pytest.fixture
def page(chromium, song):
    list(requests(chromium)), complaints(chromium)
    chromium.get("about:blank")
    chromium.get((song / "set" / "report.html").as_uri())
    yield chromium
    assert complaints(chromium) == []
    asked = [url for url in requests(chromium) if not url.startswith(("data:", "about:", "blob:"))]
    assert all(url.startswith("file://") for url in asked)


def press(page, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def state(page):
    return page.execute_script("return window.__lanes()")


@needs_browser
def test_play_moves_the_cursor_and_sounds(page):
    page.find_element("id", "play").click()
    assert page.execute_async_script(WAIT_PLAYING, 0.3)
    assert state(page)["sounding"] == ["dry-0", "dry-1", "dry-2"]
    assert page.execute_script("return SW.level()") > -60
    page.find_element("id", "play").click()
    assert not state(page)["playing"]


@needs_browser
def test_the_pages_own_graph_nulls_exactly(page):
    null = {"mix": 1} | {f"dry-{n}": -1 for n in range(3)}
    assert page.execute_async_script(PEAK, {"mix": 1}, 15, 10) > 0.1
    assert page.execute_async_script(PEAK, null, 15, 10) == 0  # across the join of two blocks
    press(page, "z")
    wanted = state(page)["gains"]
    assert wanted == null
    assert page.execute_async_script(PEAK, wanted, 0, 5) == 0


@needs_browser
def test_solo_is_the_stem_and_level_matched(page):
    press(page, "1")
    assert state(page)["gains"] == {"dry-0": 1}
    press(page, "a")
    [(key, gain)] = state(page)["gains"].items()
    assert key == "wet-0"
    assert 20 * np.log10(gain) == pytest.approx(-6, abs=0.1)  # the chain is a gain of 6 dB
    press(page, "b")
    assert state(page)["gains"] == {"wet-0": 1}
    press(page, "b", "2")
    assert state(page)["gains"] == {"dry-1": 1}  # another solo lets go of the first


@needs_browser
def test_a_link_leads_to_the_spot(page, song):
    page.get((song / "set" / "report.html").as_uri() + "#t=33.5&solo=high")
    page.refresh()
    here = state(page)
    assert here["frame"] == pytest.approx(33.5 * 16000, abs=2)
    assert here["gains"] == {"dry-1": 1}
    press(page, "c")
    assert "t=33.5" in page.current_url and "solo=dry-1" in page.current_url


@needs_browser
def test_keyboard_alone_reaches_everything(page):
    from selenium.webdriver.common.keys import Keys

    press(page, "j")
    first = page.execute_script("return SW.data.passages[0].start * SW.data.rate")
    assert state(page)["frame"] == pytest.approx(first, abs=2)
    press(page, Keys.ARROW_RIGHT)
    assert state(page)["frame"] == pytest.approx(first + 5 * 16000, abs=2)
    press(page, Keys.ARROW_DOWN, "m")
    assert set(state(page)["gains"]) == {"dry-1", "dry-2"}
    press(page, "m")
    press(page, "x")
    assert state(page)["gains"] == {"mix": 1}
    press(page, "w")
    assert set(state(page)["gains"]) == {"wet-0", "wet-1", "wet-2"}
    press(page, "d", "g", "+", "0", "n")
    assert page.switch_to.active_element.get_attribute("id") == "notes"
    assert page.find_element("id", "notes").get_attribute("value").strip()


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_page_fits_its_window(page, tmp_path, width, height):
    page.set_window_size(width, height)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth + 1")
    shot = tmp_path / "shot.png"
    assert page.save_screenshot(str(shot)) and shot.stat().st_size > 10_000
    page.set_window_size(1280, 800)


@needs_browser
@pytest.mark.parametrize(
    ("title", "stems", "seconds"),
    [('a "b" </script><img src=x onerror=alert(1)>', 2, 1), ("twelve", 12, 1)],
)
def test_odd_titles_and_many_stems(
    chromium, tmp_path, rng, tiny_prior_folder, title, stems, seconds
):
    mix = tmp_path / "mix.wav"
    soundfile.write(mix, mix_of(rng, seconds), RATE, subtype="PCM_16")
    with soundfile.SoundFile(mix, "r+") as file:
        file.title = title
    lines = "".join(f"  s{n}: {{prior: {('low', 'high')[n % 2]}}}\n" for n in range(stems))
    preset = tmp_path / "p.yaml"
    preset.write_text(f"stems:\n{lines}search: {{tier: draft}}\noutput: {{report: light}}\n")
    options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")
    manifest = render(mix, tmp_path / "set", load_preset(preset), options)
    complaints(chromium)
    chromium.get((tmp_path / "set" / "report.html").as_uri())
    assert chromium.find_element("id", "title").text == manifest.title
    lanes = chromium.find_elements("css selector", ".lane")
    assert len(lanes) == stems + 2
    null = {"mix": 1} | {f"dry-{n}": -1 for n in range(stems + 1)}
    assert chromium.execute_async_script(PEAK, null, 0, seconds) == 0
    assert complaints(chromium) == []


@needs_browser
@pytest.mark.slow
def test_two_hours_open_at_once_and_play_from_anywhere(tmp_path, song, chromium):
    """Previews in blocks, a page no larger than a song's, a late seek, an exact null there."""
    folder = shutil.copytree(song / "set", tmp_path / "set")
    shutil.rmtree(folder / "wet")
    manifest = json.loads((folder / "manifest.json").read_text())
    rate, seconds = 8000, 7200
    rng = np.random.default_rng(2)
    minute = rng.integers(-3000, 3000, rate * 60, dtype="int16")
    manifest["files"] = [file for file in manifest["files"] if file["kind"] == "dry"]
    manifest["input"] |= {"sample_rate": rate, "frames": rate * seconds, "channels": 1}
    for file in manifest["files"]:
        with soundfile.SoundFile(folder / file["path"], "w", rate, 1, "PCM_16") as target:
            for _ in range(seconds // 60):
                target.write(minute)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    page = write_report(folder)
    assert page.stat().st_size < 1_500_000
    assert len(list((folder / "report").glob("mix-*.js"))) == seconds // 20
    complaints(chromium)
    chromium.get(page.as_uri() + "#t=7140&solo=low")
    chromium.find_element("id", "play").click()
    assert chromium.execute_async_script(WAIT_PLAYING, 0.3)
    assert state(chromium)["frame"] > 7140 * rate
    null = {"mix": 1} | {f"dry-{n}": -1 for n in range(3)}
    assert chromium.execute_async_script(PEAK, null, 7190, 5) == 0
    chromium.find_element("id", "play").click()
    assert complaints(chromium) == []
