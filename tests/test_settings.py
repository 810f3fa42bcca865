"""Settings that are refused are named by their place, and no secret of theirs is repeated."""

import logging

import pytest

from hotfolder.settings import load_settings
from hotfolder_fixtures import Studio
from presets import StemwrightError

SECRET = "S3CRETS3CRETS3CR"
MISTAKES = [
    f"http:\n  port: 1\n  tokn: {SECRET}\n", f"http:\n  - {SECRET}\n", f"http: {SECRET}\n",
    "http:\n  port: 1\n  token: 0123456789012345678\n", f"http: {{port: x, token: {SECRET}}}\n",
    "http:\n  port: 1\n  token: 12345678901234567\n", f"http:\n  port: 1\n  token: [{SECRET}]\n",
    "http:\n  port: 1\n  token: short-secret\n", f"http:\n  {SECRET}: 1\n", f"token: {SECRET}\n",
    f"http:\n  port: {SECRET}\n  token: 1\n", f"http:\n  port: 1\n  token: 2026-11-27-{SECRET}\n",
    f'http:\n  port: 1\n  token: "{SECRET}\n', f"http:\n  port: 1\n  token: &a {SECRET}\n",
    f"http:\n  port: 1\n  token:\n    a: {SECRET}\n", f"worker:\n  token: 0{'1' * 20}\n",
    f"http:\n  port: 1\n  host: 1:{SECRET}\n  token: 012345678901\n",
    f"http:\n  port: 1\n  token: {SECRET}\n  token: {SECRET}\n", "http:\n  token: 0x5ec2e7\n",
]  # fmt: skip
HIDDEN = (SECRET, "0123456", "1234567890", "short-secret", "1" * 20, "0x5ec2e7")


def refused(tmp_path, text):
    path = tmp_path / "watch.yaml"
    path.write_text(text)
    with pytest.raises(StemwrightError) as caught:
        load_settings(path)
    return str(caught.value)


@pytest.mark.parametrize("text", MISTAKES, ids=range(len(MISTAKES)))
def test_no_mistake_brings_a_secret_into_an_error(tmp_path, text):
    message = refused(tmp_path, text)
    assert not any(secret in message for secret in HIDDEN), message
    assert "watch.yaml:" in message


@pytest.mark.parametrize("text", MISTAKES, ids=range(len(MISTAKES)))
def test_no_mistake_brings_a_secret_into_log_or_health(tmp_path, text, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / "watch.yaml"
    path.write_text("scan_s: 0.1\n")
    studio = Studio(tmp_path, load_settings(path)).start(settings_file=path)
    path.write_text(text)
    studio.round(2)
    health = str(studio.daemon.health())
    studio.close()
    logged = health + "".join(str(getattr(record, "fields", "")) for record in caplog.records)
    assert "settings-refused" in [record.message for record in caplog.records]
    assert "the old settings stay" in health
    assert not any(secret in logged for secret in HIDDEN)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("http:\n  prt: 1\n", "2:3: http.prt: no such key (did you mean 'port'?)"),
        ("http:\n  xyz: 1\n", "2:3: http: no such key among port, host, token"),
        ("http:\n  port: 1\n  token: abc\n", "3:10: http.token: must be at least 16 characters"),
        ("worker:\n  memory: 1\n", "worker.memory: no such key (did you mean 'memory_mb'?)"),
        ("retry:\n  x: 1\n", "retry.x: no such key among first_s, longest_s, attempts"),
        ('preset: ""\n', "1:9: preset: must not be empty"),
        ("folders:\n  rock: 1\n", "folders.rock: must be text; put it in quotes, got 1"),
        ("http:\n  host: a\n", "http.port: is missing"),
    ],
)
def test_sentences_end_in_what_is_expected(tmp_path, text, sentence):
    assert sentence in refused(tmp_path, text)
