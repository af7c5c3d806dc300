import html.parser

import numpy as np
import pandas as pd

from kit import report
from kit.scoring.confusion import foreground_scores, mean_dice, mean_iou

ATTACK = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;"


def _results(matrices, text="plain", ids=None):
    ids = ids or [f"image{row}" for row in range(len(matrices))]
    iou, dice = (
        foreground_scores(matrices)[:2] if matrices.shape[-1] == 2 else (mean_iou(matrices), mean_dice(matrices))
    )
    images = pd.DataFrame({"id": ids, "group": [f"{text}{row}" for row in range(len(ids))], "fold": 0, "iou": iou})
    return report.Results(
        title=text,
        drawn=False,
        classes=("background", "disc", "square")[: matrices.shape[-1]],
        notes=(),
        further={},
        command=text,
        config={text: [text]},
        versions={text: text},
        tta=text,
        size=(8, 8),
        images=images.assign(dice=dice, accuracy=1.0, area=0.5),
        matrices=matrices,
        levels=None,
        history={0: [{"epoch": 0, "loss": 1.0, "val_dice": 0.5}]},
        seconds={text: 1.0},
        folds=1,
        read_image=lambda name: np.zeros((8, 8, 3), np.uint8),
        read_truth=lambda name: np.zeros((8, 8), np.uint8),
        read_prediction=lambda name: np.zeros((8, 8), np.uint8),
    )


def test_fault_16_empty_truth_and_empty_prediction_score_the_stated_one(tmp_path):
    empty, half = [[64, 0], [0, 0]], [[32, 0], [16, 16]]
    measurements = report.write_report(_results(np.array([empty, half])), tmp_path)
    assert measurements["pooled"]["dice_mean"]["value"] == (1 + 2 / 3) / 2
    stated = "An empty mask predicted empty scores 1; 1 of 2 images have an empty mask."
    assert any(stated in sentence for sentence in measurements["conventions"])
    assert stated in (tmp_path / "report.html").read_text()
    only = report.measure(_results(np.array([empty, empty])))
    assert [only["pooled"][name]["value"] for name in report.SCORES] == [1, 1, 1, 1]
    assert [only["pooled"][name]["low"] for name in report.SCORES] == [None] * 4
    three = report.measure(_results(np.array([empty, empty, empty])))["pooled"]
    assert three["dice_mean"]["note"] == "none: every group scores 1, so there is no spread to measure"
    assert (three["dice_dataset"]["value"], three["dice_dataset"]["low"]) == (1, None)


def test_fault_17_class_absent_everywhere_is_left_out_of_the_mean_and_said(tmp_path):
    matrix = np.array([[[20, 0, 0], [10, 34, 0], [0, 0, 0]]] * 2)
    measurements = report.write_report(_results(matrix), tmp_path)
    assert np.isclose(measurements["pooled"]["iou_dataset"]["value"], (20 / 30 + 34 / 44) / 2)
    absent = {"class": 2, "name": "square", "share": 0, "iou": None, "dice": None, "accuracy": None}
    assert measurements["per_class"][2] == absent
    assert any("over the whole set that is square." in sentence for sentence in measurements["conventions"])
    assert "over the whole set that is square." in (tmp_path / "report.html").read_text()
    assert "NaN" not in (tmp_path / "report.json").read_text()


def test_fault_51_markup_in_ids_and_names_is_escaped_in_html(tmp_path):
    results = _results(np.array([[[32, 0], [16, 16]]] * 2), text=ATTACK, ids=[ATTACK, "other"])
    report.write_report(results, tmp_path)
    page = (tmp_path / "report.html").read_text()
    tags, texts = set(), []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.add((tag, *(name for name, _ in attributes)))
    parser.handle_data = texts.append
    parser.feed(page)
    assert not any("onerror" in tag for tag in tags)
    assert (page.count("<script"), {tag for tag in tags if tag[0] == "script"}) == (1, {("script",)})  # the page's own
    assert {tag for tag in tags if tag[0] == "img"} == {("img", "src", "alt")}
    assert ATTACK in texts  # shown as it is, as text
    assert "default-src 'none'" in page  # and where escaping failed, nothing would run
