"""The catalogue's page: what is in it, and how it behaves with thousands of rows in a browser."""

import json
import re

import pytest

from browser_fixtures import browser, complaints, needs_browser, requests
from hotfolder.catalogue.report_row import FIXED, ReportRow, plain_cell
from hotfolder.catalogue.summary import EXACT_NULL_DBFS, flag_kind, summary_page
from hotfolder.clock import Instant

ROWS = 2000


def row_of(number):
    loud = number % 50 == 7
    return ReportRow(
        row=number,
        state="quarantined" if number % 200 == 3 else "done",
        path=f"songs/{number:04d}.wav",
        title=f"Title {number} </script><b>&",
        destination=f"sets/{number:04d}",
        duration_s=180.0,
        null_dbfs="exact" if number % 3 else -140.0 - number % 7,
        loudness_lufs=-14.0 + number % 5,
        leakage_db=-8.0 + (number % 11) / 4,
        flags=f"mix peaks at {number / 1000:.1f} dBTP" if loud else "",
    )


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    (out / "sets" / "0007").mkdir(parents=True)
    (out / "sets" / "0007" / "report.html").write_text("<p>lanes</p>")
    rows = [row_of(number) for number in range(ROWS)]
    path = out / "summary.html"
    table = [[plain_cell(row.cells()[name]) for name in FIXED] for row in rows]
    text = summary_page(rows, list(FIXED), table, Instant(1.0, 1.0), out)
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_data_and_nothing_breaks_out_of_it(page_file):
    text = page_file.read_text(encoding="utf-8")
    data = json.loads(re.search(r"const DATA = (.*?);</script>", text)[1])
    assert len(data["rows"]) == ROWS
    assert "</script><b>" not in text
    assert data["rows"][5][FIXED.index("title")] == "Title 5 </script><b>&"
    assert [page for page in data["pages"] if page] == ["sets/0007/report.html"]
    assert data["plots"]["null_dbfs"][:4] == [-140.0, EXACT_NULL_DBFS, EXACT_NULL_DBFS, -143.0]
    assert data["flags"] == {"mix peaks at … dBTP": ROWS // 50}


@pytest.mark.parametrize(
    ("flag", "kind"),
    [("mix peaks at 1.5 dBTP", "mix peaks at … dBTP"), ("shorter than a second",) * 2],
)
def test_kinds_of_flags_have_no_figures(flag, kind):
    assert flag_kind(flag) == kind


@needs_browser
def test_two_thousand_rows_turn_over_filter_sort_and_lead_to_the_lanes(page_file):
    with browser() as driver:
        driver.get(page_file.as_uri())
        count = "return document.querySelectorAll('#rows tr').length"
        assert driver.execute_script(count) == 100
        assert driver.find_element("id", "where").text == f"1–100 of {ROWS}"
        driver.find_element("id", "next").click()
        assert driver.find_element("id", "where").text == f"101–200 of {ROWS}"
        driver.find_element("css selector", "#flags button").click()
        assert driver.find_element("id", "where").text == "1–40 of 40"
        link = driver.find_element("css selector", "#rows a")
        assert link.get_attribute("href") == (page_file.parent / "sets/0007/report.html").as_uri()
        driver.find_element("css selector", "#flags button").click()
        driver.find_element("id", "wanted").send_keys("title 1999")
        assert driver.find_element("id", "where").text == "1–1 of 1"
        driver.find_element("id", "wanted").clear()
        driver.execute_script("get('wanted').oninput()")
        heading = driver.find_element("xpath", "//th[text()='leakage_db']")
        heading.click()
        heading.click()
        first = "return [...document.querySelectorAll('#rows tr')].map(r => Number(r.dataset.row))"
        assert driver.execute_script(first)[0] % 11 == 10  # the worst leakage is on top
        slowest = driver.execute_script(
            "const t = performance.now(); sort(2); draw(); return performance.now() - t"
        )
        driver.find_elements("css selector", "canvas")[0].click()
        marked = driver.find_elements("css selector", "tr.marked")
        assert len(marked) == 1
        assert complaints(driver) == []
        assert all(url.startswith("file:") for url in requests(driver))
    print(f"sorting {ROWS} rows: {slowest:.0f} ms")
