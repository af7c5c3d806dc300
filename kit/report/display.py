"""Images of any dtype and number of channels, as RGB for a person to look at."""

import numpy as np

from kit.system.files import counted

RGB = ("red", "green", "blue")


def as_rgb(image: np.ndarray, channels: tuple[str, ...] | None = None) -> np.ndarray:
    """Return the image as u8 (H, W, 3).

    image: u8, u16 or f32 (H, W, C). channels: their names. Shown are red, green and blue where these names are there,
    else the first three, or the first as grey where there are fewer than three. u8 stays as it is; of other dtypes
    each channel is stretched from its 1st to its 99th percentile.
    """
    if image.ndim != 3 or not image.shape[2]:
        raise ValueError(f"an image is (height, width, channels), got {image.shape}")
    shown = image[:, :, _shown(image.shape[2], channels)]
    if shown.dtype != np.uint8:
        shown = np.stack([_stretch(shown[:, :, k]) for k in range(shown.shape[2])], axis=2)
    return np.ascontiguousarray(np.broadcast_to(shown, (*image.shape[:2], 3)))


def describe(image: np.ndarray, channels: tuple[str, ...] | None = None) -> str:
    """Return a sentence on how images like this one are shown; "" for RGB of 8 bits, shown as it is."""
    count = image.shape[2]
    names = channels if channels and len(channels) == count else [f"channel {k + 1}" for k in range(count)]
    shown = [names[k] for k in _shown(count, channels)]
    as_stored = image.dtype == np.uint8
    if as_stored and count == 3 and shown in (list(RGB), ["channel 1", "channel 2", "channel 3"]):
        return ""
    what = f"{shown[0]} as grey" if len(shown) == 1 else f"{', '.join(shown[:2])} and {shown[2]}"
    what += " as red, green and blue" if len(shown) == 3 and shown != list(RGB) else ""
    how = "" if as_stored else ", each stretched from its 1st to its 99th percentile in the image"
    return f"The images have {counted(count, 'channel')} of {image.dtype}. Shown here: {what}{how}."


def _shown(count: int, channels: tuple[str, ...] | None) -> list[int]:
    """The channels that are shown: three, or one as grey."""
    if channels and len(channels) == count and set(RGB) <= set(channels):
        return [channels.index(name) for name in RGB]
    return [0, 1, 2] if count >= 3 else [0]


def _stretch(channel: np.ndarray) -> np.ndarray:
    """(H, W) -> u8, 0 at the 1st and 255 at the 99th percentile of the finite values; these ends apart by all means."""
    finite = channel[np.isfinite(channel)].astype(np.float64)
    if not finite.size:
        return np.zeros(channel.shape, np.uint8)
    low, high = np.percentile(finite, (1, 99))
    if low == high:  # a channel that is nearly the same everywhere: show the few other pixels
        low, high = finite.min(), finite.max()
    filled = np.where(np.isfinite(channel), channel, low).astype(np.float64)
    return np.round(np.clip((filled - low) / max(high - low, 1e-300), 0, 1) * 255).astype(np.uint8)
