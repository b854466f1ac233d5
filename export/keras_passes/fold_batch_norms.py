"""Fold batch norms that follow an activation into the layers around them, which no converter does.

Converters fold a batch norm into the convolution before it. With an activation between the two, as in
Conv(relu) - BatchNorm, they cannot, and int8 then quantises the batch norm as a separate multiplication and
addition. The two layers around it can absorb y = s x + t exactly:

- the layer before it takes the scale, since |s| relu(z) = relu(|s| z);
- the next layer, which is linear, takes the sign and the shift: W y + b = (W sign(s)) |s| x + (b + W t).

The scale must go back, not forward. A channel that is nearly always 0 has a tiny variance and so a scale up to
1 / sqrt(epsilon), some 100 times that of the others. In the next layer, whose weights of all input channels share
one range of 8 bits for each output channel, it would leave hardly any of them to the other inputs. In the layer
before it each channel has its own range, and the scale costs nothing.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from fracture_edge.errors import FractureEdgeError

_Floats = npt.NDArray[np.floating[Any]]


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """Fold every batch norm that follows an activation into the Conv2D or Dense layers around it.

    The scale goes into the layer before it if that has ReLU and feeds nothing else, otherwise into the next one
    like the shift. Dropout, Flatten and MaxPooling2D may lie between the two. MaxPooling2D is allowed only if no
    channel has a negative scale, since only then scaling and taking the maximum commute. A Conv2D must have
    'valid' padding, because padded zeros would have to be shifted too. Other batch norms are kept, and so are
    those directly after a linear convolution or Dense layer, which the converters fold themselves.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1].

    Returns:
        A new model with the same layer names, without the folded batch norms and without Dropout, whose
        predictions equal those of `model` except for rounding; `model` itself if there is nothing to fold.
    """
    targets = _targets(model)
    if not targets:
        return model
    removed = targets.keys() | {layer.name for layer in model.layers if isinstance(layer, layers.Dropout)}

    def clone(layer: layers.Layer) -> layers.Layer:
        bias = {"use_bias": True} if layer.name in targets.values() else {}
        return layer.__class__.from_config(layer.get_config() | bias)

    def call(layer: layers.Layer, *arguments: Any, **options: Any) -> Any:
        return arguments[0] if layer.name in removed else layer(*arguments, **options)

    folded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    batch_norm_of = {target: batch_norm for batch_norm, target in targets.items()}
    before = output_scales(model)
    inputs = layer_inputs(model)
    for layer in folded.layers:
        weights = model.get_layer(layer.name).get_weights()
        if layer.name in batch_norm_of:
            norm = batch_norm_of[layer.name]
            scale, shift = _scale_and_shift(model.get_layer(norm))
            weights = _fold(weights, scale / before.get(inputs[norm][0], 1.0), shift)
        if layer.name in before:
            weights = [array * before[layer.name].astype(array.dtype) for array in weights]
        layer.set_weights(weights)
    return folded


def output_scales(model: keras.Model) -> dict[str, _Floats]:
    """Return the factors by which `fold_batch_norms` multiplies outputs of layers, by name, [channels] each."""
    inputs, following = layer_inputs(model), following_layers(model)
    found = {}
    for norm in _targets(model):
        source = inputs[norm][0]
        if len(following[source]) == 1 and _scales_through(model.get_layer(source)):
            scale = np.abs(_scale_and_shift(model.get_layer(norm))[0])
            found[source] = np.where(scale > 0, scale, 1.0)
    return found


def _scales_through(layer: layers.Layer) -> bool:
    """Return whether a positive factor of the layer's kernel and bias is one of its output."""
    return isinstance(layer, layers.Conv2D | layers.Dense) and layer.activation is keras.activations.relu


def layer_inputs(model: keras.Model) -> dict[str, list[str]]:
    """Return the names of the input layers of each layer, in the order of its arguments.

    Raises:
        FractureEdgeError: A layer is used more than once.
    """
    found = {}
    for entry in model.get_config()["layers"]:
        nodes = entry["inbound_nodes"]
        if len(nodes) > 1:
            raise FractureEdgeError(f"layer '{entry['name']}' is used {len(nodes)} times; use each layer once")
        found[entry["name"]] = [name for node in nodes for name in _sources(node["args"])]
    return found


def _sources(argument: Any) -> Iterator[str]:
    if isinstance(argument, list | tuple):
        for part in argument:
            yield from _sources(part)
    elif isinstance(argument, dict) and argument.get("class_name") == "__keras_tensor__":
        yield argument["config"]["keras_history"][0]


def _targets(model: keras.Model) -> dict[str, str]:
    """Map the name of each batch norm that can be folded to that of the layer it is folded into."""
    inputs, following = layer_inputs(model), following_layers(model)
    found = {}
    for batch_norm in model.layers:
        if not isinstance(batch_norm, layers.BatchNormalization) or follows_linear(
            model, inputs[batch_norm.name][0]
        ):
            continue
        target = _target(model, batch_norm, following)
        if target is not None:
            found[batch_norm.name] = target
    return found


def following_layers(model: keras.Model) -> dict[str, list[str]]:
    """Return the names of the layers that use the output of each layer."""
    found: dict[str, list[str]] = {layer.name: [] for layer in model.layers}
    for name, sources in layer_inputs(model).items():
        for source in sources:
            found[source].append(name)
    return found


def follows_linear(model: keras.Model, source: str) -> bool:
    """Return whether `source` is a convolution or Dense layer without activation: converters fuse what follows."""
    layer = model.get_layer(source)
    linear = isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense)
    return linear and layer.activation is keras.activations.linear


def _target(model: keras.Model, batch_norm: layers.Layer, following: dict[str, list[str]]) -> str | None:
    ascending = bool((_scale_and_shift(batch_norm)[0] >= 0).all())
    layer = batch_norm
    # The batch norm must be kept if its output is also used elsewhere or is an output of the model.
    while len(following[layer.name]) == 1 and all(layer.output is not output for output in model.outputs):
        layer = model.get_layer(following[layer.name][0])
        match layer:
            case layers.MaxPooling2D():
                if not ascending:
                    return None
            case layers.Dropout() | layers.Flatten():
                pass
            case layers.Conv2D():
                return layer.name if layer.padding == "valid" and layer.groups == 1 else None
            case layers.Dense():
                return layer.name
            case _:
                return None
    return None


def _scale_and_shift(batch_norm: layers.BatchNormalization) -> tuple[_Floats, _Floats]:
    """Return scale and shift of a batch norm at inference, y = scale * x + shift, float64 [channels] each."""
    weights = dict(zip((weight.name for weight in batch_norm.weights), batch_norm.get_weights(), strict=True))
    deviation = np.sqrt(weights["moving_variance"].astype(np.float64) + batch_norm.epsilon)
    scale = weights.get("gamma", 1.0) / deviation
    return scale, weights.get("beta", 0.0) - weights["moving_mean"] * scale


def _fold(weights: list[_Floats], scale: _Floats, shift: _Floats) -> list[_Floats]:
    """Return kernel [..., in, out] and bias [out] of a layer with the batch norm before it folded in."""
    kernel, bias = weights[0], weights[1] if len(weights) > 1 else 0.0
    # Flatten places the channels of one position after those of the previous position.
    positions = kernel.shape[-2] // len(scale)
    scale, shift = np.tile(scale, positions), np.tile(shift, positions)
    moved = (shift @ kernel).reshape(-1, kernel.shape[-1]).sum(axis=0)
    return [kernel * scale[:, np.newaxis].astype(kernel.dtype), (bias + moved).astype(kernel.dtype)]
