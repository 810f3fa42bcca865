"""Whose fault an error is: the mix's, which is put aside, or none of any mix: the job waits."""

import ast
import re
from pathlib import Path

import pytest

from engine import RenderOptions, prior_hashes
from hotfolder.failures import Failure
from presets import StemwrightError, load_preset

ROOT = Path(__file__).parent.parent
# whoever adds an error to one of these says below if it is the fault of the mix
ENGINE = ("audio", "model", "separation", "separators", "voices", "plugins", "stems")
RENDERING = [
    *(ROOT / "presets").rglob("*.py"),
    *(path for room in ENGINE for path in (ROOT / "engine" / room).rglob("*.py")),
    *(ROOT / "engine").glob("*.py"),
]
OF_THE_MIX = {
    "decoder-crashed", "decoder-failed", "decoder-hung", "mix-channels-unsupported", "mix-damaged",
    "mix-layout", "mix-missing", "mix-not-audio", "mix-not-finite", "mix-rate-unsupported",
    "mix-undecodable", "mix-unreadable",
    "stem-not-finite", "stem-overflow", "separator-not-finite", "format-impossible",
    "not-finite", "effect-not-finite", "effect-silent", "effect-too-long",
    "effect-out-of-range", "effect-unsuitable",  # at this mix's sample rate and channels
    "plugin-failed",  # of a chain, where the preset does not leave the plug-in out
    "voices-f0", "voices-fit", "voices-midi", "voices-parts",
    "voices-pitches", "voices-score-disagrees", "voices-score-missing", "voices-too-long",
}  # fmt: skip
OF_ANOTHER_VERB = {
    "another-mix", "manifest-damaged", "manifest-unreadable", "null-no-stems", "stem-unknown",
    "stems-differ", "uvr-table", "check-silent", "destination-exists",
    "array-unusable", "stem-ambiguous",
}  # fmt: skip


def codes_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if re.search("[eE]rror$|refuse|fail|damaged", called):
                text = node.args[0].value
                if isinstance(text, str) and re.fullmatch("[a-z]+(-[a-z0-9]+)+", text):
                    yield text


def test_every_error_of_a_render_is_the_mixs_or_waits_for_somebody_to_mend_it():
    codes = {code for path in RENDERING for code in codes_of(ast.parse(path.read_text("utf-8")))}
    assert len(codes) > 60, "the search for codes finds none"
    blamed = {code for code in codes if not Failure(code, "").blameless}
    blamed -= {code for code in blamed if Failure(code, "").incomplete}
    assert blamed - OF_ANOTHER_VERB == OF_THE_MIX


@pytest.mark.parametrize("source", ["prior: nowhere", "separator: nowhere"])
def test_a_source_that_is_missing_is_no_fault_of_the_mix(source, tmp_path):
    (tmp_path / "p.yaml").write_text(f"stems:\n  vocals: {{{source}}}\n")
    with pytest.raises(StemwrightError) as caught:
        prior_hashes(load_preset(tmp_path / "p.yaml"), RenderOptions())
    assert Failure(caught.value.code, caught.value.sentence).blameless
    assert "nowhere" in caught.value.sentence
