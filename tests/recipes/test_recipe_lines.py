"""Every recipe by its own line of the README, on a drawn miniature of its data set, to the report."""

import functools
import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
from coco_drawn import draw_coco
from miniatures import draw_blood_cells, draw_camvid, draw_membranes, draw_pets, draw_voc
from recipe_server import WIDTH
from torch import nn

from kit.datasets.discs import draw_discs
from kit.models.vgg import vgg16_stages
from kit.report.comparing import compare_recipes, join_recipes
from kit.runs import read_run, recipes_of

ROOT = Path(__file__).parents[2]
TINY = "--epochs 1 --batch-size 4 --image-size 32 48 --device cpu"
SCRATCH = f"{TINY} --encoder-weights none"
CARVANA = f"{SCRATCH} --folds 4 --batch-size 48"
SMALL_ENCODER = "--encoder mobilenet_v2"
FEW_CARS = "few_cars"  # the fixture
VGG16 = f"{TINY} --encoder-weights vgg16.pth"  # its convolutions alone, of no training


def draw_nuclei(folder):
    """Eight drawn images of two photographs, and four to predict."""
    return draw_discs(folder, photographs=2, test_photographs=1)


# recipe: the data it is drawn, what makes its line small, how many images its report then has
RECIPES = {
    "blood_deconvnet": (
        functools.partial(draw_blood_cells, tests=1),
        "--epochs 1 --batch-size 4 --folds 2 --fold 0 --device cpu --test",
        5,
    ),
    "camvid_segnet": (draw_camvid, VGG16, 4),
    "nuclei_unet": (draw_nuclei, f"{SCRATCH} --folds 2 --crops 1 --encoder mobilenet_v2", 4),
    "carvana_effunet": (FEW_CARS, f"{CARVANA} {SMALL_ENCODER}", 16),
    "carvana_fcn": (FEW_CARS, f"{CARVANA} --no-test", 16),
    "carvana_unetplusplus": (FEW_CARS, f"{CARVANA} {SMALL_ENCODER} --no-test", 16),
    "membranes_unet": (
        functools.partial(draw_membranes, slices=4, side=32),
        "--epochs 1 --folds 2 --width 2 --device cpu",
        2,
    ),
    "coco_panoptic": (draw_coco, f"{SCRATCH} --image-size 64 64 --folds 2 {SMALL_ENCODER}", 4),
    "nuclei_mask_rcnn": (
        functools.partial(draw_discs, photographs=2, test_photographs=1),
        f"{SCRATCH} --image-size 64 64 --folds 2 --crops 1 {SMALL_ENCODER}",
        4,
    ),
    "pets_dynamic_unet": (draw_pets, f"{SCRATCH} {SMALL_ENCODER}", 5),
    "pets_fpn": (draw_pets, f"{SCRATCH} {SMALL_ENCODER}", 5),
    "pets_unet": (draw_pets, TINY, 5),
    "voc_deconvnet": (functools.partial(draw_voc, trained=4, held_out=1), f"{VGG16} --image-size 64 96", 1),
    "voc_fcn": (draw_voc, VGG16, 4),
}
SUBMISSIONS = {
    "blood_deconvnet": "blood_deconvnet_run_fold0.csv",
    "carvana_effunet": "carvana_effunet_run_fold0_drawn.csv",
    "nuclei_mask_rcnn": "nuclei_mask_rcnn_run_fold0.csv",
    "nuclei_unet": "nuclei_unet_run_fold0.csv",
}


STAGES = {"voc_deconvnet": ("--stage 1", "--stage 2"), "voc_fcn": ("--stage 32s", "--stage 16s", "--stage 8s")}


def readme_line(recipe):
    """The flags after the first `python recipes/<recipe>.py` of recipes/README.md."""
    lines = [line.strip() for line in (ROOT / "recipes/README.md").read_text().splitlines()]
    return next(line.partition("#")[0] for line in lines if line.startswith(f"python recipes/{recipe}.py"))


def write_vgg16(path):
    """VGG16's convolutions alone, of no training, under torchvision's names, as narrow as the networks here."""
    layers = [layer for stage in vgg16_stages(width=WIDTH) for layer in (*stage, nn.Identity())]
    torch.save({f"features.{name}": value for name, value in nn.Sequential(*layers).state_dict().items()}, path)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_readme_line_runs_to_the_report(recipe, tmp_path, run, request):
    data, small, images = RECIPES[recipe]
    folder = request.getfixturevalue(data) if data == FEW_CARS else data(tmp_path / "data")
    if VGG16 in small:
        write_vgg16(tmp_path / "vgg16.pth")
    first, *further = STAGES.get(recipe, ("",))
    line = f"{readme_line(recipe)} --data-dir {shlex.quote(str(folder))} --run-dir run {small}"
    assert first in line
    for stage in (first, *further):
        done = run(line.replace(first, stage), tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "note: " not in done.stdout
        assert ("fc6 and fc7 start new" in done.stdout) == (VGG16 in small and stage == first and recipe in STAGES)
    reports = sorted((tmp_path / "run").rglob("report.json"))
    assert len(reports) == 1 + len(further)
    for path in reports:
        report = json.loads(path.read_text())
        assert report["title"].startswith(recipe)
        assert report["images"] == images
        assert 0 <= report["dataset"]["mean_iou"] <= 1
        assert len(pd.read_csv(path.with_name("oof.csv"))) == images
    written = [path.name for path in tmp_path.glob("submissions/*.csv")]
    assert written == [SUBMISSIONS[recipe]] if recipe in SUBMISSIONS else written == []


def test_every_recipe_has_a_line():
    assert {path.stem for path in (ROOT / "recipes").glob("*.py")} == {*RECIPES, "carvana_unet"}


def blood(run, tmp_path, flags):
    """Run the blood cells' recipe on drawn ones."""
    folder = tmp_path / "data"
    if not folder.exists():
        draw_blood_cells(folder)
    small = "--epochs 1 --batch-size 4 --folds 2 --device cpu --run-dir run"
    return run(f"python recipes/blood_deconvnet.py --data-dir {shlex.quote(str(folder))} {small} {flags}", tmp_path)


@pytest.mark.slow
def test_the_papers_own_training_of_the_blood_cells(tmp_path, run):
    done = blood(run, tmp_path, "--paper")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["tta"], report["config"]["lr"]) == ("none", 1e-4)
    assert "share of images over 0.97 in pixel accuracy" in report["further"]


@pytest.mark.slow
def test_membranes_with_and_without_deformation_and_border_weights_are_compared_slice_by_slice(tmp_path, run):
    pytest.importorskip("skimage")
    folder = shlex.quote(str(draw_membranes(tmp_path / "data", slices=4, side=32)))
    for name, flags in (("whole", ""), ("plain", "--no-elastic"), ("even", "--no-border-weights")):
        small = f"--folds 2 --fold all --width 2 --epochs 2 --device cpu --run-dir {name}"
        done = run(f"python recipes/membranes_unet.py --data-dir {folder} {small} {flags}", tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads((tmp_path / name / "report.json").read_text())
        further = report["further"]
        assert further["V_Rand at the threshold .5"] == pytest.approx(report["metric"]["value"])
        for score in ("V_Rand", "V_Info"):
            best, fitted = (
                further[f"{score} at the best threshold of the sweep"],
                further[f"{score}, threshold cross-fitted"],
            )
            assert best >= further[f"{score} at the threshold .5"]
            assert best >= fitted
    other = run(f"python recipes/membranes_unet.py --data-dir {folder} {small} --run-dir whole --no-elastic", tmp_path)
    assert other.returncode == 1
    assert "elastic" in other.stderr
    facts = compare_recipes(join_recipes(recipes_of([read_run(tmp_path / one) for one in ("plain", "whole")])))
    assert (facts["images"], facts["groups"], facts["metric"]) == (4, 4, "V_Rand (thinned), mean over images")


@pytest.mark.slow
def test_the_sweep_of_learning_rates_draws_a_plot_and_goes_on(tmp_path, run):
    for trained in (3, 0):
        done = blood(run, tmp_path, "--lr-sweep")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("epoch ") == trained
        assert (tmp_path / "run/lr_sweep.png").stat().st_size > 5000
    config = tmp_path / "run/lr_sweep/0.001/config.json"
    before = config.read_bytes()
    wrong = blood(run, tmp_path, "--lr-sweep --fold 7")
    assert wrong.returncode == 1
    assert "--fold 7: there are folds 0 to 1, all, or full" in wrong.stderr
    assert config.read_bytes() == before  # what is refused writes nothing


def test_stages_go_on_only_from_a_finished_stage_on_the_same_lists(tmp_path, run_here):
    """The 32s stage is a finished one in name only, but of another fingerprint: what it holds is not looked at."""
    folder = shlex.quote(str(draw_voc(tmp_path / "data")))
    line = f"python recipes/voc_fcn.py --stage 16s --data-dir {folder} --run-dir run {SCRATCH}"
    absent = run_here(line, tmp_path)
    assert absent.returncode == 1
    assert "run/32s, where fold 0 is not finished: run that first" in absent.stderr
    (tmp_path / "run/32s/fold0").mkdir(parents=True)
    (tmp_path / "run/32s/fold0/finished.json").write_text("{}")
    (tmp_path / "run/32s/config.json").write_text(json.dumps({"identity": {"data": "of another list"}}))
    other = run_here(line, tmp_path)
    assert other.returncode == 1
    assert "may have seen the held-out " in other.stderr
