"""Ten competitions drawn small, in the layouts of their own files. `DRAW[name](folder)` draws one and says what it is.

    replica = DRAW["clouds"](tmp_path)
    replica.dialect, replica.truth["0a1b2c3"], replica.sample_csv

What a module's docstring calls verified was read in public code or pages that read the competition's files; the module
says where. No file, and no code, of a competition is copied.
"""

from replicas import airbus, carvana, clouds, contrails, dsb2018, hubmap, salt, severstal, siim, uw_madison
from replicas.replica import Replica

DRAW = {
    "carvana": carvana.draw,
    "salt": salt.draw,
    "dsb2018": dsb2018.draw,
    "airbus": airbus.draw,
    "severstal": severstal.draw,
    "siim": siim.draw,
    "clouds": clouds.draw,
    "uw_madison": uw_madison.draw,
    "hubmap": hubmap.draw,
    "contrails": contrails.draw,
}

__all__ = ["DRAW", "Replica"]
