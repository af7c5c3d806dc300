"""What does a person look at? The report of a run: its numbers as JSON, a page, and a short table.

results.py       what a run hands over, checked
measure.py       every number of the report, computed once
volumes.py       Dice and IoU of whole volumes
thresholds.py    Dice at every threshold, and an honest score of a picked one
conventions.py   the sentences that say what the numbers mean
summary.py       the table for a terminal
page.py          the page, one file; report.html is its template, tuned.html the part on rule.json
templates.py     the templates of the pages; base.css is their common style
cards.py         the drawings of one image
comparing.py     two runs or more compared: every number; comparing_text.py has the sentences
comparing_page.py  the page of a comparison; comparing.html is its template
objects.py       what became of each object; object_cards.py draws them, objects.html shows them, run_objects.py
                 reads them from a run
further.py       the recipe's own scores, single ones and tables
outlined.py      scores of outlines, and calibration; outlines.html is that part of the page
slices.py        images that have something in common
verdict.py       the first sentence of the page, and what speaks against the score
budget.py        what kinds of errors, and which images, lose the score
sliced.py        the scores of slices
doubts.py        images in which the network contradicts the truth with confidence
thumbnails.py    a small drawing of every held-out image
windows.py       the place with most errors; images at the size of a drawing
display.py       images of any kind as RGB
slides.py        slides at a size that fits the page
plots.py         the charts
audit_page.py    the page of an audit; audit.html is its template
"""

from kit.report.measure import SCORES, measure
from kit.report.page import page, write_report
from kit.report.results import Results
from kit.report.summary import summary

__all__ = ["SCORES", "Results", "measure", "page", "summary", "write_report"]
