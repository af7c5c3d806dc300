"""Lists encoders and their weights, states the images that these expect, and checks that the hub can be reached.

Nothing here downloads. smp's settings of an encoder name only the place on the hub; the mean and deviation are in a
file there. So STATISTICS repeats those that differ from ImageNet's. The sources are timm's settings of the same weights
and, for DPN, Inception and Xception, the package pretrainedmodels 0.7.4, from which smp took them.
"""

import os
import threading
import urllib.error
import urllib.request
from difflib import get_close_matches
from pathlib import Path

import huggingface_hub as hub
import segmentation_models_pytorch as smp
import timm
import torch

from kit.models.packages import offline_help

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DPN = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
STATISTICS = {  # how the name of smp's encoder begins: the mean and deviation of its weights
    "inception": HALF,
    "xception": HALF,
    "timm-tf_efficientnet_lite": HALF,
    "dpn": DPN,
}
SECONDS = 2.0  # to wait for the hub's first answer

OFFLINE = (
    "the weights {weights!r} of {encoder!r} are not on this machine and the hub cannot be reached. Either connect "
    "once, or give a file of weights in their place ({file}), or 'none' to train from scratch"
)


def check_encoder(encoder: str, weights: str | None) -> None:
    """Raise ValueError or FileNotFoundError if there is no such encoder, or no such weights for it.

    Cheap: nothing is built, downloaded or read. encoder and weights are those of `kit.models.pretrained.unet`.
    """
    check_name(encoder)
    if weights in {None, "none"} or weights in known_weights(encoder) or Path(weights).is_file():
        return
    known = ", ".join(map(repr, known_weights(encoder))) or "none on the hub"
    if weights == "imagenet":
        raise ValueError(
            f"encoder {encoder!r} has no weights 'imagenet'; it has {known}. Give one of these, a file, or 'none'"
        )
    raise FileNotFoundError(
        f"encoder weights {weights}: no such file; expected 'imagenet', 'none' or a file "
        f"(for {encoder!r} the hub has {known})"
    )


def check_name(encoder: str) -> None:
    """Raise ValueError with the nearest names if neither smp nor timm has this encoder."""
    if encoder in smp.encoders.get_encoder_names():
        return
    model, _, tag = encoder.removeprefix("tu-").partition(".")  # .tag names the weights
    if not encoder.startswith("tu-") or model not in timm.list_models():
        every = [*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())]
        near = ", ".join(get_close_matches(encoder, every, n=4)) or "none at all alike"
        raise ValueError(
            f"encoder {encoder!r}: there is none of that name. Nearest: {near}. All names: python -c "
            '"import segmentation_models_pytorch as s, timm; print(*s.encoders.get_encoder_names(), '
            "*('tu-' + n for n in timm.list_models()))\""
        )
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        near = ", ".join(get_close_matches(tag, tags, n=4, cutoff=0.3) or tags[:4]) or "none: leave the tag out"
        raise ValueError(f"encoder {encoder!r}: timm has no weights {tag!r} of {model!r}. Nearest: {near}")


def known_weights(encoder: str) -> list[str]:
    """The names of the weights that the hub has for an encoder. Those of timm (tu-NAME.tag) are all "imagenet"."""
    if encoder.startswith("tu-"):
        return ["imagenet"] if timm.is_model_pretrained(encoder[3:]) else []
    return list(smp.encoders.encoders[encoder]["pretrained_settings"])


def statistics(encoder: str, weights: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation, RGB in 0..1, of the images that an encoder's weights expect; None for weights "none".

    A file is taken to hold the encoder's usual weights, because files do not state what they expect. No download.
    Raises as check_encoder: a recipe that asks for statistics first finds a misspelt encoder before it writes anything.
    """
    check_encoder(encoder, weights)
    if weights in {None, "none"}:
        return None
    if encoder.startswith("tu-"):
        cfg = timm.get_pretrained_cfg(encoder[3:])
        return (tuple(cfg.mean), tuple(cfg.std)) if cfg and len(cfg.mean) == 3 else None
    if weights == "advprop":
        return HALF
    return next((found for start, found in STATISTICS.items() if encoder.startswith(start)), IMAGENET)


def check_hub(encoder: str, weights: str) -> None:
    """Raise OSError if the weights are not on this machine and the hub does not answer.

    Without this, smp's and timm's own retries take 23 to 47 s to find no network.
    """
    if encoder.startswith("tu-"):
        cfg = timm.get_pretrained_cfg(encoder[3:])
        repo, revision, url = (cfg.hf_hub_id, None, cfg.url) if cfg else (None, None, None)
        needed = []  # any one of the files that timm looks for will do
        names = [cfg.hf_hub_filename] if cfg and cfg.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    else:
        settings = smp.encoders.encoders[encoder]["pretrained_settings"][weights]
        repo, revision, url = settings["repo_id"], settings["revision"], None
        needed, names = ["config.json"], ["model.safetensors"]
    if repo:
        cached = {name: _cached(repo, name, revision) for name in (*needed, *names)}
        if not (all(cached[name] for name in needed) and any(cached[name] for name in names)):
            check_reachable(hub.hf_hub_url(repo, "config.json", revision=revision), offline(encoder, weights))
    elif url and not (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file():
        check_reachable(url, offline(encoder, weights))


def offline(encoder: str, weights: str) -> str:
    """The message that the hub cannot be reached, with all ways out."""
    ways = OFFLINE.format(weights=weights, encoder=encoder, file="a state dict of the encoder")
    return f"{ways}. {offline_help(encoder, weights)}"


def check_reachable(url: str, message: str) -> None:
    """Raise OSError with `message` if nothing answers at the URL within two seconds; any answer will do.

    $HF_HUB_ETAG_TIMEOUT, the hub's own setting, gives other seconds. The request runs in a thread, because a search for
    the host's name has no time limit of its own.
    """
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or SECONDS)
    failed: list[Exception] = []
    asking = threading.Thread(target=_ask, args=(url, seconds, failed), daemon=True)
    asking.start()
    asking.join(seconds)
    if asking.is_alive() or failed:
        why = failed[0] if failed else f"no answer within {seconds:g} s; $HF_HUB_ETAG_TIMEOUT gives it more"
        raise OSError(f"{message} ({why})") from (failed[0] if failed else None)


def _ask(url: str, seconds: float, failed: list[Exception]) -> None:
    """Ask for the head of a file once, by the hub's own client for the hub, which knows proxies and offline mode."""
    try:
        if url.startswith(hub.constants.ENDPOINT):
            hub.get_hf_file_metadata(url, timeout=seconds)
        else:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except (hub.errors.HfHubHTTPError, urllib.error.HTTPError):
        pass  # it answers; the download will say what is wrong
    except Exception as error:  # whichever HTTP library the hub's client is built on has its own types
        failed.append(error)


def _cached(repo: str, name: str, revision: str | None) -> bool:
    return isinstance(hub.try_to_load_from_cache(repo, name, revision=revision), str)
