"""python -m kit audit: what it prints, writes and returns; and the audit before training."""

import json
import re
import sys

import numpy as np
import pytest
from any_data import Shapes
from changed_images import brighter
from drawn_scenes import Scenes, scene, scenes
from PIL import Image
from slides_drawn import draw_slides, kidneys

from kit.cli.audit import Audit
from kit.cli.audit_data import read_fold_table
from kit.data import Dataset, Resizing
from kit.folds import audit
from kit.folds.auditing import describe
from kit.folds.looks import pixels_of
from kit.ledger.recording import open_leaks
from kit.prediction import TTA, VIEWS, Frame
from kit.report.audit_page import audit_page
from kit.report.verdict import verdict
from kit.runs import Config, open_run
from kit.runs.allowed import audit_once, keep_reason, leak_notes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty images with masks, of which one is a brightened copy, and folds."""
    root = tmp_path_factory.mktemp("data")
    images = {**scenes(19), "zz": brighter(scene(3))}  # of d0
    for name in ("images", "masks"):
        (root / name).mkdir()
    for id, image in images.items():
        Image.fromarray(image).save(root / f"images/{id}.png")
        mask = np.zeros((120, 160), np.uint8)
        mask[20:60, 30 : 60 + len(id)] = 255
        Image.fromarray(mask).save(root / f"masks/{id}.png")
    lines = ["id,fold", *(f"{id},{k % 4}" for k, id in enumerate(images))]
    (root / "folds").mkdir()
    (root / "folds/folds.csv").write_text("\n".join(lines))
    return root


def test_a_leak_is_named_and_fails(folder, capsys):
    assert Audit(str(folder), folds=folder / "folds/folds.csv").run() == 0  # d0 is of fold 3, and so is zz
    assert "together  d0 and zz (fold 3): a copy" in capsys.readouterr().out
    assert Audit(data_dir=folder).run() == 1
    said = capsys.readouterr().out
    assert re.search(r"LEAK +d0 and zz: a copy", said)
    assert "1 leak: scores would be too high" in said


def test_json_is_one_object_and_the_page_needs_no_network(folder, capsys, tmp_path):
    assert Audit(str(folder), json=True, out=tmp_path).run() == 1
    facts = json.loads(capsys.readouterr().out)
    assert [(one["first"], one["second"]) for one in facts["fails"]["copies"]] == [("d0", "zz")]
    assert (facts["images"], facts["ok"], facts["allowed"], facts["labels"]) == (20, False, None, None)
    assert json.loads((tmp_path / "audit_facts.json").read_text()) == facts
    page = (tmp_path / "audit.html").read_text()
    assert "1 leak: scores of these folds would be too high" in page
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', page)
    assert len(sources) >= 2
    assert {source.partition(",")[0] for source in sources} == {"data:image/jpeg;base64"}


def test_a_reason_is_kept_beside_the_folds_and_shown(folder, capsys, tmp_path):
    table = tmp_path / "folds.csv"
    table.write_text((folder / "folds/folds.csv").read_text().replace("zz,3", "zz,0"))
    assert Audit(str(folder), folds=table).run() == 1
    assert not (tmp_path / "audit.json").exists()
    assert Audit(str(folder), folds=table, allow_leak=" ").run() == 1
    assert "for a reason" in capsys.readouterr().out
    assert Audit(str(folder), folds=table, allow_leak="two shots of one car.").run() == 0
    assert "1 leak, allowed: two shots of one car" in capsys.readouterr().out
    [note] = leak_notes(tmp_path)
    assert "The reason given: two shots of one car. Found: d0 and zz (fold 3 and fold 0)" in note


def test_an_empty_reason_is_refused_also_where_it_would_be_kept_nowhere(folder, capsys):
    assert Audit(str(folder), allow_leak="").run() == 1
    assert "for a reason" in capsys.readouterr().out


def test_images_without_a_mask_are_no_test_images(folder, capsys, tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for file in (folder / name).iterdir():
            if file.stem != "zz" or name == "images":
                (tmp_path / name / file.name).write_bytes(file.read_bytes())
    assert Audit(str(tmp_path)).run() == 0
    said = capsys.readouterr().out
    assert "19 images in 19 groups, 1 image without a mask" in said
    assert "copy      d0 and zz (group d0 and without a mask): a copy" in said


def test_a_recipe_is_run_until_it_opens_its_run(folder, capsys, tmp_path):
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "import sys\n"
        "from kit.datasets import Folder\n"
        "from kit.recipe import launch\n"
        "from kit.runs import open_run\n"
        "def main():\n"
        "    assert sys.argv[1] == '--data-dir' and sys.argv[3:] == ['--folds', '5']\n"
        "    print('said by the recipe')\n"
        "    data = Folder(sys.argv[2], images='images/*.png', masks='masks/{id}.png')\n"
        "    open_run(None, data, lambda: [k % 5 for k in range(20)], None, None, __file__)\n"
        "    raise RuntimeError('not reached')\n"
        "if __name__ == '__main__':\n"
        "    launch(main)\n"
    )
    before = list(sys.argv)
    assert Audit(str(recipe), data_dir=folder, flags="--folds 5", json=True).run() == 1
    facts = json.loads(capsys.readouterr().out)
    assert [one["places"] for one in facts["fails"]["copies"]] == [["fold 3", "fold 4"]]
    assert (facts["folds"], sys.argv) == (5, before)
    recipe.write_text("print('no run')\n")
    assert Audit(str(recipe)).run() == 1
    assert "opened no run" in capsys.readouterr().out


def test_images_without_masks_are_audited_too(folder, capsys):
    assert Audit(str(folder / "images")).run() == 1
    said = capsys.readouterr().out
    assert "all image files in" in said
    assert "d0.png and zz.png" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "name what to look at"),
        ({"data": "nothing_there"}, "neither a folder, nor a recipe, nor one of carvana"),
        ({"of_run": "runs/none", "folds": "folds.csv"}, "--folds needs the images too"),
    ],
)
def test_what_cannot_be_audited_is_said(arguments, expected, capsys):
    assert Audit(**arguments).run() == 1
    assert expected in capsys.readouterr().out


def test_a_table_of_other_images_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,fold\na,0\nb,1\nb,1\nd,0\n")
    with pytest.raises(ValueError, match=r"1 id only in it: d; 1 id not in it: c; it lists an id twice"):
        read_fold_table(tmp_path / "a.csv", ["a", "b", "c"])
    (tmp_path / "b.csv").write_text("name,fold\na,0\n")
    with pytest.raises(ValueError, match="has no column id"):
        read_fold_table(tmp_path / "b.csv", ["a"])


def test_a_run_is_audited_once(tmp_path, monkeypatch):
    data = Scenes({**scenes(12), "zz": brighter(scene(0))})
    together, apart = np.arange(13) % 4, np.arange(13) % 3
    names = {"data.images and masks": "a"}
    audit_once(tmp_path, data, together, names)
    assert leak_notes(tmp_path) == []
    with monkeypatch.context() as patch:
        patch.setattr("kit.runs.allowed.audit", None)
        audit_once(tmp_path, data, together, names)
    apart[12] = 1
    for _ in range(2):
        with pytest.raises(ValueError, match=r"1 leak.*\n.*a0 and zz \(fold 0 and fold 1\)"):
            audit_once(tmp_path, data, apart, names)
    assert "1 leak, so the scores may be too high. Nobody has given a reason" in leak_notes(tmp_path)[0]
    audit_once(tmp_path, data, apart, names, "they are shown twice")
    audit_once(tmp_path, data, apart, names)
    assert "they are shown twice" in leak_notes(tmp_path)[0]
    (tmp_path / "audit.json").write_text("{")
    with pytest.raises(ValueError, match=r"audit\.json is damaged"):
        leak_notes(tmp_path)


class Files:
    """Stands for a folder, which is no value of the data set."""

    def __init__(self, content):
        self.content = content


class InFiles(Dataset):
    """Scenes whose content changes while the data set's own name stays."""

    name, classes = "in_files", ("background", "scene")

    def __init__(self, shown, tests):
        self.files, self.ids, self.test_ids = Files({**shown, **tests}), list(shown), list(tests)
        self.groups = self.ids

    @property
    def shown(self):
        return self.files.content

    def read_image(self, id):
        if self.shown[id] is None:
            raise ValueError(f"{id}.png: damaged or cut short")
        return self.shown[id]

    def read_mask(self, id):
        return np.eye(*self.shown[id].shape[:2], dtype=np.uint8)


def opened(folder, data, audit=True):
    config = Config(0, folder, device="cpu", workers=0)
    folds = np.arange(len(data.ids)) % 2
    return open_run(config, data, lambda: folds, Frame(Resizing((24, 24))), TTA(VIEWS["none"]), __file__, audit=audit)


def test_changed_files_are_audited_again(tmp_path):
    shown, tests = scenes(8), {"t0": scene(50)}
    first, *_, last = shown
    data = InFiles(shown, tests)
    opened(tmp_path, data)
    for name, copied in ((last, first), ("t0", last)):
        kept, data.shown[name] = data.shown[name], data.shown[copied]
        with pytest.raises(ValueError, match=r"found 1 leak.*\n(.*\n)*.*audit=.* allows them"):
            opened(tmp_path, data)
        data.shown[name] = kept
        opened(tmp_path, data)


def test_a_test_image_that_cannot_be_read_is_a_note(tmp_path, capsys):
    shown = scenes(8)
    data = InFiles(shown, {"t0": None, "t1": shown["a0"]})
    with pytest.raises(ValueError, match=r"a0 and t1"):
        opened(tmp_path / "one", data)
    data.shown["t1"] = scene(50)
    opened(tmp_path / "two", data)
    assert "1 test image cannot be read and is left out: t0 (" in capsys.readouterr().out
    assert audit(data).tests == 1


def test_the_reason_of_the_command_holds_for_these_leaks_alone(tmp_path):
    shown = scenes(8)
    data = InFiles({**shown, "b": shown["a0"], "c": shown["b0"]}, {})
    folds, names = np.arange(10) % 4, {"data": "a"}
    folds[8:] = 3
    lines = [describe(one) for one in audit(data, folds).fails]
    assert len(lines) == 2
    keep_reason(tmp_path, "meant", lines[:1])
    with pytest.raises(ValueError, match="found 2 leaks"):
        audit_once(tmp_path, data, folds, names)
    keep_reason(tmp_path, "meant", lines)
    audit_once(tmp_path, data, folds, names)
    assert "meant" in leak_notes(tmp_path)[0]
    data.shown["c"] = scene(60)
    audit_once(tmp_path, data, folds, {"data": "b"})
    assert "found 1 leak," in leak_notes(tmp_path)[0]
    data.shown["c"] = shown["b0"]
    audit_once(tmp_path, data, folds, {"data": "c"})
    data.shown["d0"] = shown["e0"]
    with pytest.raises(ValueError, match="found 3 leaks"):
        audit_once(tmp_path, data, folds, {"data": "d"})
    assert "found 3 leaks, so the scores may be too high. Nobody has given a reason" in leak_notes(tmp_path)[0]


def test_a_failed_audit_of_a_run_is_remembered_until_it_passes(folder, capsys, tmp_path):
    (tmp_path / "folds.csv").write_text((folder / "folds/folds.csv").read_text().replace("zz,3", "zz,0"))
    assert Audit(str(folder), of_run=tmp_path).run() == 1
    [note] = leak_notes(tmp_path)
    assert "found 1 leak, so the scores may be too high. Nobody has given a reason to allow them. Found: d0" in note
    assert len(open_leaks(tmp_path)) == 1
    assert [one["level"] for one in verdict(facts_with(note))["reasons"]] == ["fail"]
    assert Audit(str(folder), of_run=tmp_path, allow_leak="two shots").run() == 0
    assert open_leaks(tmp_path) == []
    assert "two shots" in leak_notes(tmp_path)[0]
    (tmp_path / "folds.csv").write_text((folder / "folds/folds.csv").read_text())  # mended
    assert Audit(str(folder), of_run=tmp_path).run() == 0
    assert leak_notes(tmp_path) == open_leaks(tmp_path) == []


def facts_with(note):
    """What the verdict reads of a report that is fine but for a note."""
    score = {"value": 0.9, "low": 0.88, "high": 0.92, "df": 20.0, "note": ""}
    return {
        "metric": {"name": "m", **score}, "pooled": {"dice_mean": score}, "drawn": False, "conventions": [note],
        "constant": {"class": "background", "mean_iou": 0.4}, "dataset": {"mean_iou": 0.8}, "threshold": None,
        "thresholds": [], "tuned": None, "folds": {"planned": 2, "finished": [0, 1]}, "images": 90, "groups": 30,
    }  # fmt: skip


def test_the_audit_of_another_run_stays(tmp_path):
    data = InFiles(scenes(8), {})
    run = opened(tmp_path, data)
    (run.folder / "fold0").mkdir()
    (run.folder / "fold0/finished.json").write_text("{}")
    before = (tmp_path / "audit.json").read_bytes()
    data.shown["a0"] = data.shown["b0"]
    with pytest.raises(ValueError, match="images and masks"):
        opened(tmp_path, data, "another's")
    assert (tmp_path / "audit.json").read_bytes() == before


def test_open_run_audits_before_anything_is_written(tmp_path):
    data = Shapes()
    first, last = data.ids[0], data.ids[-1]

    class WithCopy(Shapes):
        def read_image(self, id):
            return super().read_image(first if id == last else id)

    folds = np.arange(len(data.ids)) % 2
    folds[-1] = 1 - folds[0]

    def opened(audit):
        frame = Frame(Resizing((24, 24)))
        config = Config(0, tmp_path / "mine", device="cpu", workers=0)
        return open_run(config, WithCopy(), lambda: folds, frame, TTA(VIEWS["none"]), __file__, audit=audit)

    with pytest.raises(ValueError, match=f"{first} and {last} .*: the same pixels"):
        opened(True)
    assert not (tmp_path / "mine/config.json").exists()
    run = opened("one object was photographed twice")
    assert (run.folder / "config.json").exists()
    assert "one object was photographed twice" in leak_notes(run.folder)[0]


def test_slides_are_audited_shrunk(tmp_path):
    draw_slides(tmp_path)
    data = kidneys(tmp_path)
    found = audit(data, np.arange(len(data.ids)))
    assert found.images == len(data.ids)
    assert found.copies == []
    assert "Images that may be one group" in audit_page(found, lambda id: pixels_of(data, id))
