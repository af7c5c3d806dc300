"""python -m kit: the small jobs around a recipe.

python -m kit new recipes/mine.py --data-dir DIR                      look at a folder, and write a recipe for it
python -m kit lint submission.csv --sample sample_submission.csv      is this CSV what the competition accepts?
python -m kit lint data/carvana                                       is every image and mask sound?
python -m kit audit recipes/mine.py --data-dir DIR                    copies across folds, look-alikes, doubtful labels
python -m kit compare runs/a runs/b                                   is one run better than another, or is it luck?
python -m kit tune runs/mine                                          choose thresholds and areas, scored honestly
python -m kit blend runs/a runs/b --out submissions/blend.csv         choose a blend of runs, and write its CSV
python -m kit soup runs/mine --images DIR                             averages of the weights of the last epochs
python -m kit status                                                  all runs: finished, running, stopped; what is next
python -m kit ledger                                                  all scores, here and at Kaggle; what to submit
python -m kit predict runs/mine --images DIR --out submission.csv     predict images with a run folder, without its data
python -m kit bundle runs/mine --out DIR                              a folder that predicts without internet
python -m kit export runs/mine --fold 0 --out net.onnx                one network as ONNX
python -m kit download pets                                           fetch a data set; without a name, list them
python -m kit bench                                                   time kit against other packages, on this machine
"""

import tyro

from kit.cli.audit import Audit
from kit.cli.bench import Bench
from kit.cli.blend import Blend
from kit.cli.bundle import Bundle
from kit.cli.compare import Compare
from kit.cli.download import Download
from kit.cli.export import Export
from kit.cli.ledger import Ledger
from kit.cli.lint import Lint
from kit.cli.new import New
from kit.cli.predict import Predict
from kit.cli.soup import Soup
from kit.cli.status import Status
from kit.cli.tune import Tune


def main() -> int:
    """Run the command that was asked for; return its exit status."""
    commands = {
        "new": New,
        "lint": Lint,
        "audit": Audit,
        "compare": Compare,
        "tune": Tune,
        "blend": Blend,
        "soup": Soup,
        "status": Status,
        "ledger": Ledger,
        "predict": Predict,
        "bundle": Bundle,
        "export": Export,
        "download": Download,
        "bench": Bench,
    }
    about = __doc__.splitlines()[0]
    return tyro.extras.subcommand_cli_from_dict(commands, prog="python -m kit", description=about).run()
