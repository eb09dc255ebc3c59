"""Every method's map of one pair through residual blocks, the slow way: from its formula, as dense matrices.

A net is a nested list: a module, or a pair (main, shortcut) of lists that see the same input and are added. Nothing
here is shared with the package. Convolution and BatchNorm are one matrix, as the rules have it in residual nets.
Shapes: image (C, H, W), maps (H, W), attributions (C, H, W).
"""

import copy

import torch
import torch.nn.functional as F
from support.slow_maps import dense, positive_rule, rap_rule, ratio, winner_matrix, z_box_rule
from torch import nn

__all__ = ["nested", "residual_reference"]


def nested(model):
    """A torchvision or CIFAR ResNet as a nested list, cut into its stages: [(path, list), ...]."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    stem = [nn.Sequential(model.conv1, model.bn1), model.relu, *([model.maxpool] if hasattr(model, "maxpool") else [])]
    stages = [("stem", stem)]
    for number in range(1, 5):
        if stage := getattr(model, f"layer{number}", None):
            stages.append((f"layer{number}", [part for block in stage for part in block_parts(block)]))
    return [*stages, ("head", [model.avgpool, nn.Flatten(), model.fc])]


def block_parts(block):
    relu = getattr(block, "relu", None) or block.relu1
    main = [nn.Sequential(block.conv1, block.bn1), relu, nn.Sequential(block.conv2, block.bn2)]
    if hasattr(block, "conv3"):
        main += [relu, nn.Sequential(block.conv3, block.bn3)]
    shortcut = getattr(block, "downsample", None) or getattr(block, "shortcut", None)
    return [(main, [shortcut] if shortcut else []), relu]


def run(parts, x):
    """The outputs of all parts: of a module a tensor, of a sum (tensor, outputs of main, outputs of shortcut)."""
    outputs = []
    for part in parts:
        if isinstance(part, tuple):
            main, shortcut = (run(branch, x) for branch in part)
            x = last_of(main, x) + last_of(shortcut, x)
            outputs.append((x, main, shortcut))
        else:
            x = part(x[None])[0]
            outputs.append(x)
    return outputs


def last_of(outputs, x):
    return x if not outputs else outputs[-1][0] if isinstance(outputs[-1], tuple) else outputs[-1]


def go_down(parts, outputs, x, signal, name, first, last):
    """Take a signal (as a vector) from the parts' output to their input x."""
    for place in reversed(range(len(parts))):
        part, seen = parts[place], last_of(outputs[:place], x)
        if isinstance(part, tuple):
            _, *branches = outputs[place]
            addends = [last_of(branch, seen).flatten() for branch in branches]
            if name in ("gradient", "guided", "gradcam"):
                signals = [signal, signal]
            else:
                positive = [a.clamp(min=0) for a in addends]
                signals = [signal * ratio(a, positive[0] + positive[1]) for a in positive]
            signal = sum(
                go_down(branch, inner, seen, part_signal, name, first, last)
                for branch, inner, part_signal in zip(part, branches, signals, strict=True)
            )
        else:
            signal = one_down(part, seen, outputs[place], signal, name, part is first, part is last)
    return signal


def one_down(module, x, y, signal, name, is_first, is_last):
    if isinstance(module, nn.Flatten | nn.Identity):
        return signal
    derivative = name in ("gradient", "guided", "gradcam")
    if isinstance(module, nn.ReLU):
        return signal * (y.flatten() > 0) * ((signal > 0) if name == "guided" else 1) if derivative else signal
    if isinstance(module, nn.MaxPool2d):
        return winner_matrix(module, x).T @ signal
    matrix = dense(module, x)
    if derivative:
        return matrix.T @ signal
    if is_first:
        return z_box_rule(matrix, x.flatten(), signal)
    if name == "rap" and isinstance(module, nn.Sequential | nn.Linear):
        return rap_rule(matrix, x.flatten(), signal, "last" if is_last else "convolution")
    return positive_rule(matrix, x.flatten(), signal)


def residual_reference(model, image, k, name, layer):
    """One map of one pair; ``layer`` is a stage, ``layer1`` to ``layer4``."""
    stages = nested(model)
    parts = [part for _, stage in stages for part in stage]
    first, last = parts[0], parts[-1]
    names = [path for path, stage in stages for _ in stage]
    stop = len(names) - names[::-1].index(layer) if name in ("gradcam", "ebp") else 0
    with torch.no_grad():
        outputs = run(parts, image)
        scores = last_of(outputs, image)
        signal = torch.zeros_like(scores)
        signal[k] = scores[k].abs() if name in ("lrp", "rap") else 1
        x = last_of(outputs[:stop], image)
        signal = go_down(parts[stop:], outputs[stop:], x, signal, name, first, last).view(x.shape)
    if name == "lrp":
        return signal.sum(0)
    if name == "rap":
        return signal.sum(0).clamp(min=0)
    if name in ("gradient", "guided"):
        return signal
    cells = signal.sum(0) if name == "ebp" else (signal.sum((1, 2), keepdim=True) * x).sum(0)
    enlarged = F.interpolate(cells.clamp(min=0)[None, None], image.shape[1:], mode="bilinear", align_corners=False)
    return enlarged[0, 0]
