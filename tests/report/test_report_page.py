import dataclasses
import itertools
import json

import numpy as np
import pytest
from discs import class_results, classes, drawn_run, with_metric

from kit import report
from kit.scoring import MeanDice


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


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 900, "light"), (390, 844, "dark")])
def test_page_shows_every_drawing_and_fits(visit, written, width, height, scheme):
    page = visit(written[0] / "report.html", width, height, scheme)
    shown = len({row["id"] for part in ("worst", "worst_by_group", "median") for row in written[1][part]})
    assert 24 < shown < 24 + 12 + 8
    assert page.locator("article.card").count() == shown  # each image once
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").count() == 3 * shown
    assert page.locator("img").first.bounding_box()["width"] == pytest.approx(358 if width == 390 else 368, abs=2)
    page.evaluate(
        "(async () => {for (const image of document.images) {image.scrollIntoView(); await image.decode()}})()"
    )
    assert min(page.evaluate("[...document.images].map(image => image.naturalWidth)")) > 0
    assert all(page.evaluate("[...document.images].map(image => image.loading != 'lazy' && image.alt != '')"))
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
        ends = {name: f"{intervals[name]['low']:.4f} – {intervals[name]['high']:.4f}" for name in report.SCORES}
        return [f"{scores[name]:.4f}\n{ends[name]}" for name in report.SCORES]

    rows = [
        [str(r["fold"]), str(r["images"]), str(r["groups"]), *bounded(r, r["intervals"]), str(r["best_epoch"])]
        for r in m["per_fold"]
    ]
    assert cells("folds") == [*rows, ["pooled", "48", "12", *bounded(pooled, m["pooled"]), ""]]
    groups = [[r["group"], str(r["images"]), f"{r['dice_mean']:.4f}", f"{r['dice_worst']:.4f}"] for r in m["by_group"]]
    assert cells("groups") == [[*row, worst["id"]] for row, worst in zip(groups, m["worst_by_group"], strict=True)]
    honest = m["threshold"]["honest"]["dice_mean"]
    assert cells("threshold")[2][1].startswith(f"{honest['value']:.4f}")
    assert [row[:2] for row in cells("seconds")] == [["train", "2 min"], ["predict", "4.2 s"]]
    order = dict.fromkeys(row["id"] for row in m["worst"] + m["worst_by_group"] + m["median"])
    assert page.locator("article b").all_inner_texts() == list(order)
    links = page.locator("table.groups a").all()
    for link, row in zip(links, m["worst_by_group"], strict=True):
        assert page.locator(f"{link.get_attribute('href')} b").inner_text() == row["id"]
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.title() == "discs · out-of-fold report"
    assert page.locator(".banner").inner_text().startswith("Drawn data.")
    assert page.locator("svg .line").count() == 2 + 2 + 3 + 3 + 1  # threshold, calibration, losses, scores, every image


@pytest.mark.slow
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
    assert page.locator("article.card").count() == 10
    assert "% not sky" in page.locator(".facts").first.inner_text()
    assert page.locator("#median").count() == 0  # all ten are among the worst
    assert "two groups only" not in page.content()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_the_metric_leads_the_page_and_is_not_repeated(visit, drawn, tmp_path):
    m = report.write_report(with_metric(drawn.results, MeanDice()), tmp_path)
    page = visit(tmp_path / "report.html", 390, 844)
    first = page.locator(".hero div").first.inner_text()
    metric = m["metric"]
    assert first.startswith("Mean Dice over images")
    assert f"{metric['value']:.4f}" in first
    assert f"95 % interval {metric['low']:.4f} – {metric['high']:.4f}, 11.0 degrees of freedom" in first
    assert page.locator(".hero div").count() == 4  # Dice as a mean over images is that metric
    assert page.locator("table.folds thead th").nth(3).inner_text() == "mean Dice over images"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_a_print_has_every_image_and_the_page_explains_its_words(visit, written):
    page = visit(written[0] / "report.html")
    assert page.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )  # no scrolling
    text = page.locator("main").inner_text()
    for said in (
        "hflip (the mean of the predictions",
        "Degrees of freedom (df) say",
        "Best epoch: the one with",
        "% foreground",
    ):
        assert said in text
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).breakInside") == "avoid"


@pytest.mark.browser
def test_the_legend_shows_the_background_and_ignored_pixels_in_different_greys(visit, drawn, tmp_path):
    results = dataclasses.replace(class_results(drawn, *classes()), classes=("background", "tree", "road", "cat"))
    report.write_report(results, tmp_path)
    page = visit(tmp_path / "report.html")
    legend = page.locator(".legend").last
    names = legend.locator("li").all_inner_texts()
    assert names == ["background, only darkened", "tree", "road", "wrong", "ignored"]
    colours = page.evaluate(
        "[...document.querySelectorAll('.legend')].at(-1).querySelectorAll('i').values()"
        ".map(mark => getComputedStyle(mark).backgroundColor).toArray()"
    )
    assert len(set(colours)) == len(names)


@pytest.mark.browser
def test_two_groups_have_no_interval_and_the_page_says_so(visit, drawn, tmp_path):
    images = drawn.results.images.assign(fold=0, group=["a", "b"] * 24)
    report.write_report(dataclasses.replace(drawn.results, images=images, folds=1), tmp_path)
    page = visit(tmp_path / "report.html")
    assert page.locator(".caution").all_inner_texts() == ["No interval: two groups only, an interval needs three."]
    assert page.locator(".hero").inner_text().count("no interval") == 4
    rows = page.locator("table.folds tr:has(td)")
    assert rows.count() == 1  # one fold: nothing is pooled
    assert "Fold 0 – no interval: two groups only, an interval needs three." in page.locator("main").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("dtype", "count", "channels", "said"),
    [
        (np.uint8, 1, ("x-ray",), "The images have 1 channel of uint8. Shown here: x-ray as grey."),
        (np.uint16, 4, ("nir", "red", "green", "blue"), "uint16. Shown here: red, green and blue, each stretched"),
        (np.float32, 2, None, "The images have 2 channels of float32. Shown here: channel 1 as grey, each stretched"),
    ],
)
def test_images_of_other_kinds_are_shown_and_the_page_says_how(visit, drawn, tmp_path, dtype, count, channels, said):
    top = 255 if dtype == np.uint8 else 4000
    shown = dataclasses.replace(
        drawn.results,
        **{name: getattr(drawn.results, name)[:6] for name in ("images", "matrices", "levels")},
        channels=channels,
        read_image=lambda id: np.repeat(drawn.truths[id][..., None].astype(dtype) * top, count, axis=2).astype(dtype),
    )
    report.write_report(shown, tmp_path)
    page = visit(tmp_path / "report.html")
    assert said in page.locator("#worst + p").inner_text()
