"""Runs recipes as `python -W error recipes/NAME.py FLAGS` does, but faster, and with narrow networks of VGG16.

Each runs in a fork of this process, which has imported all that the recipes import: that takes longer than their work
here. The recipe's file is run as it is, as __main__, with its flags on the command line. The one change: networks that
have a `width` get a tenth of the paper's where the recipe does not say another, because that is the default here.

Requests are lines of JSON on the standard input: argv, the folder to run in, where to write output and errors. Each is
answered by the exit status.
"""

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

WIDTH = 0.1


def narrow():
    from kit.models.deconvnet import DeconvNet
    from kit.models.fcn import FCN8s, FCN16s, FCN32s
    from kit.models.segnet import SegNet
    from kit.models.vgg import read_vgg16

    for network in (FCN32s, FCN16s, FCN8s, DeconvNet, SegNet):
        assert network.__init__.__kwdefaults__["width"] == 1.0
        network.__init__.__kwdefaults__["width"] = WIDTH
    assert read_vgg16.__defaults__ == (1.0,)
    read_vgg16.__defaults__ = (WIDTH,)


def run(argv, folder, out, errors):
    """In the fork: what Python does with a script, to the exit status."""
    os.chdir(folder)
    for path, stream in ((out, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.argv, status = argv, 0
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    for recipe in sorted((Path(__file__).parents[2] / "recipes").glob("*.py")):
        runpy.run_path(str(recipe), run_name="imported")
    narrow()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(**request)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
