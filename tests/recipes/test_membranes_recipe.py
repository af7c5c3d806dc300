"""membranes_unet.py: equation 2 is worked out by the data workers, of each mask after its deformation."""

import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import DataLoader

from kit.data import cell_augment
from kit.data.samples import SegmentationDataset, collate_samples
from kit.losses import unet_border_weights, weighted_cross_entropy

RECIPE = Path(__file__).parents[2] / "recipes/membranes_unet.py"


def test_the_loss_is_that_of_the_weights_of_each_deformed_mask():
    recipe, rng = SimpleNamespace(**runpy.run_path(str(RECIPE), run_name="imported")), np.random.default_rng(0)
    images = rng.integers(0, 255, (4, 64, 64, 1), dtype=np.uint8)
    masks = (ndimage.gaussian_filter(rng.normal(size=(4, 64, 64)), (0, 4, 4)) > -0.02).astype(np.uint8)
    masks[0, :5] = 255
    class_weights = torch.tensor([1.7, 0.8])
    target = partial(recipe.with_equation_2, class_weights=class_weights, w0=recipe.W0, sigma=recipe.BORDER)

    def read(id):
        return images[int(id)], masks[int(id)]

    seen = []
    for given in (target, None):
        data = SegmentationDataset(
            lambda id: (images[int(id)], masks[int(id)]), list("0123"), cell_augment(3, 5.0), given
        )
        [batch] = DataLoader(data, batch_size=4, collate_fn=collate_samples)
        seen.append(batch.mask)
    target, deformed = seen
    logits = torch.randn(4, 1, 64, 64, generator=torch.manual_seed(0))
    cells = [ndimage.label(mask == 1)[0] for mask in deformed.numpy()]
    weights = [unet_border_weights(each, recipe.W0, recipe.BORDER, class_weights.tolist()) for each in cells]
    expected = weighted_cross_entropy(logits, deformed, torch.from_numpy(np.stack(weights)))
    assert (deformed.numpy() != masks).any()
    assert recipe.weighted_by_target(logits, target).item() == expected.item()
    assert np.max(weights) > 5  # there is background between two cells
