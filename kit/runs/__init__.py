"""What is a run?

run.py         Run: its folder and what all its folds share; open_run
flags.py       the flags of a recipe, and which of them decide a number
folds.py       which folds are unfinished, and their locks
training.py    fit_fold: a fold's samples, validation and state
settings.py    plan, optimizer and loss as text: a checkpoint of others is refused
check.py       network, metric and test images against the data set, before the first step
oof.py         out-of-fold predictions and their scores
full.py        full fits: on all images, with the score to expect from the folds
pseudo.py      test images labelled by other runs, fold by fold
half.py        how far a fold's score moves in half precision, for a bundle
testing.py     predictions of the test images
submit.py      the submission
allowed.py     audit_once: leaks before training; the reason for those that are allowed
doctor.py      labels that held-out predictions contradict
truth.py       the true masks of the held-out images, kept in the run folder
finished.py    read_run: a finished run read from its folder alone; joining.py joins several image by image
seeds.py       which finished runs are seeds of one recipe
tuning.py      python -m kit tune: the rule of a finished run (candidates.py counts, tried.py says what is tried);
               with views too: view_stores.py predicts, seen.py counts
soup.py        python -m kit soup: averages of the weights of several epochs as a run of its own (averages.py)
blend.py       python -m kit blend: a blend of finished runs (blend_pool.py), and its CSV (blend_submit.py)
saving.py      predictor.json: what prediction needs without the data
predict.py     python -m kit predict: images of any folder by run folders alone (passes.py, workers.py, outputs.py)
together.py    the networks of a run, or of the runs of a blend
provenance.py  where a number comes from: command, versions, commit, hardware
changes.py     what changed since a run folder began: images, masks, kit itself; for the message that refuses it
"""

from kit.prediction.saved import load_network
from kit.runs.finished import FinishedRun, read_run
from kit.runs.flags import Count, Free, Weights
from kit.runs.folds import unfinished
from kit.runs.joining import join_runs
from kit.runs.oof import oof_masks, predict_oof, scores
from kit.runs.pseudo import pseudo_samples
from kit.runs.run import Config, Run, open_run
from kit.runs.seeds import recipes_of
from kit.runs.submit import Submission, submit
from kit.runs.training import Plan, fit_fold, load, load_stage

__all__ = [
    "Config",
    "Count",
    "FinishedRun",
    "Free",
    "Plan",
    "Run",
    "Submission",
    "Weights",
    "fit_fold",
    "join_runs",
    "load",
    "load_network",
    "load_stage",
    "oof_masks",
    "open_run",
    "predict_oof",
    "pseudo_samples",
    "read_run",
    "recipes_of",
    "scores",
    "submit",
    "unfinished",
]
