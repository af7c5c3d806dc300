"""python -m kit download: fetch a data set that kit knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.cli.flags import choice
from kit.datasets.download import SOURCES, download, list_sources

Source = Annotated[Literal[*SOURCES] | None, choice(*SOURCES)]


@dataclass(frozen=True)
class Download:
    """Fetch a data set, check and unpack it; without a name, list them with their sizes and licences."""

    name: tyro.conf.Positional[Source] = None
    to: Path | None = None  # the folder; data/<name>
    url: str | None = None  # another address of its archive, as of a mirror; the checksum stays the same

    def run(self) -> int:
        """Fetch or list; 1 if it could not be fetched, 130 after Ctrl-C."""
        if self.name is None:
            print("\n".join(list_sources()))
            return 0
        try:
            download(self.name, self.to, self.url)
        except (ValueError, OSError) as error:
            print(error)
            return 1
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here")
            return 130
        return 0
