"""What the docs tell to type is typed; every block that is not says why."""

import re
import shutil
import sys

import pytest
import yaml

from docs_fixtures import PAGES, ROOT, TYPED, Studio, answers, blocks_of
from export.data.recordings import Origins
from hotfolder.settings import load_settings
from presets import load_preset

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.language in TYPED and not block.reason]
WITH_QUICK = [page for page in PAGES if any(b.page == page and not b.is_slow for b in RUN)]
WITH_SLOW = [
    page for page in PAGES
    if any(b.page == page and (b.is_slow or "--tier best" in b.text) for b in RUN)
]  # fmt: skip
PROGRAMS = re.compile(r"^(\$ )?(stemwright|python|make|pip|apt|dask) ", re.M)
needs_a_shell = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="the docs are typed in bash"
)


def check_chain(path):
    preset = path.with_name("with-chain.yaml")
    chain = yaml.safe_load(path.read_text())["chain"]
    preset.write_text(yaml.safe_dump({"stems": {"vocals": {"chain": chain}}}))
    load_preset(preset)


CHECKS = {
    "preset": load_preset,
    "settings": load_settings,
    "sources": Origins,
    "chain": check_chain,
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_run_or_says_why_not(block):
    assert block.reason != "", f"{block}: not run: why?"
    if block.language in ("", "text"):
        typed = PROGRAMS.search(block.text)
        assert not typed, f"{block}: commands stand in a block of sh or console"
    elif block.language == "python":
        assert block.page.name == "python.md", f"{block}: test_python_door runs that page alone"
    elif block.language in TYPED:
        measured = "python bench/" in block.text and not block.reason
        assert not measured, f"{block}: what a bench measures takes long: `<!-- not run: ... -->`"
    else:
        assert block.reason or "file" in block.said, (
            f"{block}: say above it `<!-- file: NAME as KIND -->` or `<!-- not run: REASON -->` "
            "(tests/docs_fixtures.py)"
        )


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_files_that_the_docs_name_are_there(page):
    text = page.read_text("utf-8")
    named = re.findall(
        r"(?<![\w/.])((?:engine|export|hotfolder|presets|tests|bench)/[\w/]+\.\w+)", text
    )
    assert not [name for name in dict.fromkeys(named) if not (ROOT / name).exists()]


def work_through(page, folder, slow):
    studio = Studio(folder)
    for block in blocks_of(page):
        if "file" in block.said:
            studio.prepare(block)
            name, _, kind = block.said["file"][0].partition(" as ")
            (folder / name).write_text(block.text, encoding="utf-8")
            CHECKS[kind](folder / name)
        elif block.language in TYPED and not block.reason and (slow or not block.is_slow):
            studio.work_through(block, slow)


@needs_a_shell
@pytest.mark.parametrize("page", WITH_QUICK, ids=lambda page: page.name)
def test_what_a_page_tells_to_type_works(tmp_path, page):
    work_through(page, tmp_path / "studio", slow=False)


@needs_a_shell
@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_SLOW, ids=lambda page: page.name)
def test_what_takes_long_works_too(tmp_path, page):
    work_through(page, tmp_path / "studio", slow=True)


def test_answers_are_compared_to_the_letter_but_for_dots():
    assert answers(["a", "...", "d"], "a\nb\nc\nd\n")
    assert answers(["...", "d"], "d\n")
    assert not answers(["a", "...", "d"], "a\nb\nc\n")
    assert not answers(["a"], "a\nb\n")


def test_enough_is_run_to_be_worth_the_test():
    assert len(RUN) >= 12
    assert len(WITH_QUICK) >= 7
