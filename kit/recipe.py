"""The end of every recipe: the folds are trained, predicted, reported and submitted; errors become one message."""

import os
import re
import sys
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from kit.ledger.recording import record_run
from kit.report.of_run import report, write_run_report
from kit.runs.check import check_metric, check_tests
from kit.runs.folds import has_only_weights, unfinished
from kit.runs.full import check_folds, describe, expectation, finish_full
from kit.runs.half import measure_half
from kit.runs.oof import predict_oof, score_again, up_to_date
from kit.runs.run import Run, planned
from kit.runs.saving import save_predictor, saved_run
from kit.runs.submit import Submission, submit, test_time
from kit.scoring.metrics import Metric
from kit.submission.check_numbers import check_numbers
from kit.submission.lint import check_sample
from kit.system.run_folder import Fold, is_full
from kit.training import processes


def finish(
    run: Run,
    fold: int | Literal["all", "full"],
    train: Callable[[Fold], None],
    network: Callable[[], nn.Module],
    goal: Submission | Metric | None = None,
    further: Callable[[Run], dict[str, float | dict[str, float]]] | None = None,
) -> None:
    """Train the folds asked for that are not finished, predict what each holds out, report on all, and submit.

    train(fold) trains a network and leaves its weights in the fold's folder; PyTorch is seeded before. network(): the
    architecture, without weights. goal: the submission, whose competition has a metric; or a metric alone, where the
    data set has no competition. further: gives scores of the recipe's own, by name.
    """
    submission = goal if isinstance(goal, Submission) and goal.write else None
    metric = goal.competition.metric if isinstance(goal, Submission) else goal
    check_metric(run, metric)
    if submission:
        check_sample(submission.competition)
        for line in check_numbers(submission.competition):
            run.world.say(f"warning: {line}")
        check_tests(run, submission.competition)
    if fold == "full":
        run.world.agree(lambda: check_folds(run))
        run.world.agree(lambda: score_again(run, metric))  # what to expect is by this metric and rule
    saved = saved_run(run, network, goal.competition if isinstance(goal, Submission) else None, metric)
    for number in unfinished(run, fold):
        if not has_only_weights(run, number):
            train(number)
        if is_full(number):
            finish_full(run, number)
            continue
        predict_oof(run, number, network, metric)
        save_predictor(run, saved)
    if up_to_date(run):
        save_predictor(run, saved)
    is_kept = run.world.main and saved.network is not None
    for number in set(planned(run, fold)) & set(up_to_date(run)) if is_kept else ():
        measure_half(run, number, network, metric)
    csv_size = goal.competition.dialect.size if isinstance(goal, Submission) else None
    if fold != "full":  # a full fit has no score
        report(run, metric, further, csv_size)
    elif not submission:
        run.world.say(describe(expectation(run, metric)))
    if submission:
        before = test_time(run)
        submit(run, submission, network, fold)
        if fold != "full" and run.world.main and test_time(run) != before:
            write_run_report(run, metric, csv_size)  # again: with the time that the test images took
    if fold != "full" and run.world.main:
        record_run(run.folder, metric)


def launch(main: Callable[[], None]) -> None:
    """Run a recipe. An error ends it with one message (exit 1); Ctrl-C leaves the last checkpoint (exit 130).

    $KIT_TRACEBACK=1 shows where an error was raised. Does nothing in a data worker, which imports the script too.
    """
    if main.__module__ == "__mp_main__":
        return
    try:
        main()
        processes.stop()  # not after an error: other processes may wait in the group, and torchrun ends them
    except KeyboardInterrupt:
        print("\nstopped. The last checkpoint, if any, is intact; the same command resumes from it.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        advice = _advice(error)
        if os.environ.get("KIT_TRACEBACK") or (isinstance(error, RuntimeError) and not advice):
            raise
        print(f"error: {error}{advice}\n(KIT_TRACEBACK=1 shows where it was raised)", file=sys.stderr)
        sys.exit(1)


def _advice(error: Exception) -> str:
    """What to do about an error that torch raises and that is no mistake in the code; "" for any other."""
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return (
            "\nThere is not enough memory. Use smaller batches or images, several parts of a batch, or crops, in "
            "another run folder (--run-dir); or a larger device"
        )
    if isinstance(error, RuntimeError) and re.search(r"DataLoader worker \(pid|</torch_", str(error)):
        return (
            "\nA process that loads images ended, or could not hand them over. The likely cause is too little main "
            "memory or /dev/shm (df -h /dev/shm). Lower --workers, 0 for none; the same command then resumes"
        )
    return ""
