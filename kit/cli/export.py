"""python -m kit export: one network as ONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Export:
    """Write the network of one fold as ONNX, and check it against PyTorch on random images.

    Normalising is in the graph: it takes pixels as they are in the files, f32 (N, C, H, W), and gives logits. Height
    and width may be any multiples of the network's stride, which the file's metadata_props name. Resizing, views, the
    mean over folds and thresholds are not in it. Needs more packages: pip install -e '.[export]'.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]  # the run folder
    out: Path  # the file, net.onnx
    fold: int = 0
    image_size: tuple[int, int] | None = None  # a fixed height and width; PSPNet, UPerNet, DPT and others need it

    def run(self) -> int:
        """Export and print the differences; 1 if it could not, or if the logits are not PyTorch's."""
        from kit.bundle.export import export  # imported here: PyTorch takes seconds

        try:
            found = export(self.run_dir, self.fold, self.out, self.image_size)
        except ImportError as error:
            print(
                f"error: {error}. The export needs more packages: pip install -e '.[export]', or onnx, onnxruntime "
                "and onnxscript"
            )
            return 1
        except (ValueError, OSError) as error:
            print(f"error: {error}" + (" (--image-size H W)" if str(error).endswith("give it") else ""))
            return 1
        print("\n".join(map(str, found)))
        print(f"{self.out}: {self.out.stat().st_size / 1e6:.1f} MB")
        return 0
