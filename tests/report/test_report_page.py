import dataclasses
import itertools
import json
import shutil

import pytest
from discs import class_results, classes, drawn_run

from kit import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def drawn():
    return drawn_run()


@pytest.fixture(scope="module")
def written(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, report.write_report(drawn.results, folder)


def test_report_is_written_whole_and_is_plain_json(written):
    folder, measurements = written

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads((folder / "report.json").read_text(), parse_constant=refuse) == measurements
    assert measurements["config"] == {"epochs": 4, "image_size": [64, 96], "lr": None}
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    assert (folder / "report.html").stat().st_size < 6e6


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: the page of the report was not looked at")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a page, and fail at the end if it asked for anything or complained."""
    seen, contexts = [], []

    def visit(path, width=1280, height=900, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or seen.append(request.url))
        page.goto(path.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert seen == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_page_shows_every_picture_and_fits(visit, written, width, height, scheme):
    page = visit(written[0] / "report.html", width, height, scheme)
    assert page.locator("article.card").count() == 24 + 8
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").count() == 3 * 32
    assert page.locator("img").first.bounding_box()["width"] == pytest.approx(358 if width == 390 else 368, abs=2)
    page.evaluate(
        "(async () => {for (const image of document.images) {image.scrollIntoView(); await image.decode()}})()"
    )
    assert min(page.evaluate("[...document.images].map(image => image.naturalWidth)")) > 0
    assert all(page.evaluate("[...document.images].map(image => image.loading == 'lazy' && image.alt != '')"))
    paper, ink = page.evaluate(
        "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
        ".map(colour => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0))"
    )
    assert (paper > 600 > 200 > ink) if scheme == "light" else (paper < 200 < 600 < ink)


@pytest.mark.browser
def test_page_shows_the_numbers_of_the_json(visit, written):
    page, m = visit(written[0] / "report.html"), written[1]

    def cells(name):
        return [row.locator("td").all_inner_texts() for row in page.locator(f"table.{name} tr:has(td)").all()]

    def shown(row):
        return [f"{row[name]:.4f}" for name in report.SCORES]

    pooled = {name: m["pooled"][name]["value"] for name in report.SCORES}
    assert page.locator(".hero b").all_inner_texts() == shown(pooled)
    low, high = m["pooled"]["dice_mean"]["low"], m["pooled"]["dice_mean"]["high"]
    assert f"{low:.4f} – {high:.4f}" in page.locator(".hero div").first.inner_text()

    def bounded(scores, intervals):
        return [f"{scores[name]:.4f}\n{intervals[name][0]:.4f} – {intervals[name][1]:.4f}" for name in report.SCORES]

    rows = [
        [str(r["fold"]), str(r["images"]), str(r["groups"]), *bounded(r, r["intervals"]), str(r["best_epoch"])]
        for r in m["per_fold"]
    ]
    ends = {name: [score["low"], score["high"]] for name, score in m["pooled"].items()}
    assert cells("folds") == [*rows, ["pooled", "48", "12", *bounded(pooled, ends), ""]]
    groups = [[r["group"], str(r["images"]), f"{r['dice_mean']:.4f}", f"{r['dice_worst']:.4f}"] for r in m["by_group"]]
    assert cells("groups") == groups
    honest = m["threshold"]["honest"]["dice_mean"]
    assert cells("threshold")[2][1].startswith(f"{honest['value']:.4f}")
    assert [row[:2] for row in cells("seconds")] == [["train", "2 min"], ["predict", "4.2 s"]]
    assert page.locator("article b").all_inner_texts() == [row["id"] for row in m["worst"] + m["median"]]
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.title() == "discs · out-of-fold report"
    assert page.locator(".banner").inner_text().startswith("Drawn data.")
    assert page.locator("svg .line").count() == 2 + 3 + 3 + 1  # threshold, losses, scores, every image


@pytest.mark.browser
def test_page_of_several_classes_real_data_and_no_history(visit, drawn, tmp_path):
    results = dataclasses.replace(class_results(drawn, *classes()), drawn=False, history={}, seconds={})
    report.write_report(results, tmp_path)
    page = visit(tmp_path / "report.html", 390, 844)
    assert page.locator(".banner, #threshold, #training").count() == 0
    assert page.locator("table.classes tbody tr").last.locator("td").all_inner_texts() == ["cat", "0.00 %", *"–––"]
    assert page.locator("table.dataset tbody tr").last.locator("td").all_inner_texts() == ["boundary F1", "0.6250"]
    assert page.locator(".legend").last.locator("li").all_inner_texts() == ["sky", "tree", "road", "wrong", "ignored"]
    assert page.locator(".hero div").first.inner_text().startswith("Mean IoU, data set")
    assert page.locator("article.card").count() == 10 + 8
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
