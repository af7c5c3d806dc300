"""Which run was better, here and on the leaderboard?

facts.py      Ledger: the file, one fact a line, only ever added to
recording.py  record: a run folder as a fact; the parent, and what changed since
kaggle.py     public scores through Kaggle's own client
shifts.py     differences between runs, on the leaderboard less in cross-validation
finals.py     which two submissions to choose
naming.py     what names a run beside its flags: views, rule, metric; values without paths of a disk
blends.py     record_blend: the members of a blended CSV, and the score it lets expect
view.py       all of it as one plain object; table.py: as text
status.py     all runs in a folder: what is finished, running or stopped, and what to do next
"""

from kit.ledger.facts import Ledger, ledger_of, place_of
from kit.ledger.recording import record
from kit.ledger.view import view

__all__ = ["Ledger", "ledger_of", "place_of", "record", "view"]
