"""Every method's map of one pair, the slow way: from its formula, one pair, one sample and one step after the other.

A reference goes through a net layer by layer as dense matrices and shares no code with the package; autograd has no
part in it. Shapes: image (C, H, W), maps (H, W), attributions (C, H, W).
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from roar_pipeline.seeds import derived_seed

__all__ = [
    "CLASSES",
    "NETS",
    "both_signs",
    "chain",
    "cut_of",
    "filled",
    "in_order",
    "noise_reference",
    "odd_net",
    "plain_net",
    "reference",
    "slow_map",
]

CLASSES = 5


def both_signs(scores):
    """Check that scores above and below 0 are among those of the pairs that a test explains."""
    assert scores.min() < 0 < scores.max(), scores.tolist()


def filled(model, dtype=torch.float64, seed=1):
    """Give a net weights of an even scale, biases, and batch norm statistics that are not those of its first day."""
    generator = torch.Generator().manual_seed(seed)

    def normal(values, deviation=1.0, mean=0.0):
        values.copy_(mean + deviation * torch.randn(values.shape, generator=generator, dtype=values.dtype))

    model = model.to(dtype)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                normal(module.weight, (2 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    normal(module.bias, 0.2)
            if isinstance(module, nn.BatchNorm2d):
                if module.affine:
                    normal(module.weight, 0.7, 0.7)
                    normal(module.bias, 0.3)
                normal(module.running_mean, 0.3)
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator, dtype=dtype))
    return model.eval()


def in_order(features, head, pool):
    names = ("features", "avgpool", "flatten", "classifier")
    model = nn.Sequential()
    for name, module in zip(names, (nn.Sequential(*features), pool, nn.Flatten(), nn.Sequential(*head)), strict=True):
        model.add_module(name, module)
    return filled(model)


def plain_net(pool=1):
    """Blocks as ours, small enough for dense matrices on 8 x 8 pixels."""
    features = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    features += [nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    features += [nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6, affine=False), nn.ReLU(), nn.MaxPool2d(2)]
    return in_order(features, [nn.Dropout(0.2), nn.Linear(6 * pool**2, CLASSES)], nn.AdaptiveAvgPool2d(pool))


def odd_net():
    """Every option of every layer: stride, dilation, groups, overlapping pools, hidden Linear, in-place ReLU."""
    features = [nn.Conv2d(3, 6, 4, stride=2, padding=2, groups=3), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
    features += [nn.Conv2d(6, 4, (3, 2), padding=(2, 1), dilation=2, groups=2), nn.ReLU(inplace=True)]
    features += [nn.AvgPool2d(2, 1, padding=1), nn.Identity(), nn.Conv2d(4, 6, 3, padding="same"), nn.ReLU()]
    features += [nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), nn.Conv2d(6, 6, 2, padding="valid", bias=False)]
    features += [nn.BatchNorm2d(6), nn.ReLU(inplace=True)]
    head = [
        nn.Dropout(),
        nn.Linear(54, 24),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(24, 16, bias=False),
        nn.ReLU(),
    ]
    return in_order(features, [*head, nn.Linear(16, CLASSES)], nn.AdaptiveAvgPool2d(3))


def scaled_net():
    """BatchNorms that follow no convolution."""
    features = [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    return in_order([*features, nn.Conv2d(4, 8, 3), nn.ReLU()], [nn.Linear(8, CLASSES)], nn.AvgPool2d((1, 2)))


NETS = {
    "plain": plain_net,
    "pooled": lambda: plain_net(2),
    "spread": lambda: plain_net(3),
    "odd": odd_net,
    "scaled": scaled_net,
}


def chain(model):
    """The modules one after the other, as the torchvision nets and ours run them."""
    parts = model.features, [model.avgpool, nn.Flatten()], model.classifier
    return [module for part in parts for module in part]


def cut_of(modules, layer):
    last_pool = max(i for i, module in enumerate(modules) if isinstance(module, nn.MaxPool2d))
    if layer == "last_pool":
        return last_pool + 1
    return max(i for i, module in enumerate(modules[:last_pool]) if isinstance(module, nn.ReLU)) + 1


def ratio(above, below):
    return torch.where(below == 0, torch.zeros_like(below), above / torch.where(below == 0, 1, below))


def dense(module, x):
    """The matrix (outputs, inputs) of a linear layer without its bias, one unit input at a time."""
    zero = module(torch.zeros_like(x)[None])[0].flatten()
    units = torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape)
    return torch.stack([module(unit[None])[0].flatten() - zero for unit in units], 1)


def winner_matrix(pool, x):
    """1 at the first largest input of each window (outputs, inputs), window by window."""
    places = torch.arange(x[0].numel(), dtype=x.dtype).view(x.shape[1:])
    height, width = pool(x[None]).shape[2:]
    size, stride, padding = pool.kernel_size, pool.stride, pool.padding
    matrix = torch.zeros(len(x), height, width, x.numel(), dtype=x.dtype)
    for c in range(len(x)):
        for row in range(height):
            for column in range(width):
                top, left = row * stride - padding, column * stride - padding
                rows = range(max(top, 0), min(top + size, x.shape[1]))
                columns = range(max(left, 0), min(left + size, x.shape[2]))
                best = max(((r, q) for r in rows for q in columns), key=lambda rq: float(x[c, rq[0], rq[1]]))
                matrix[c, row, column, c * x[0].numel() + int(places[best])] = 1
    return matrix.view(-1, x.numel())


def positive_rule(matrix, x, relevance):
    return x * (matrix.clamp(min=0).T @ ratio(relevance, matrix.clamp(min=0) @ x))


def z_box_rule(matrix, x, relevance):
    low, high = x.min(), x.max()
    terms = x * matrix - low * matrix.clamp(min=0) - high * matrix.clamp(max=0)
    return torch.einsum("ji,j->i", terms, ratio(relevance, terms.sum(1)))


def rap_rule(matrix, x, relevance, kind):
    """Term by term, as the docstring of ``Weighted.rap`` writes it."""
    toward, against = x * matrix.clamp(min=0), x * (-matrix).clamp(min=0)
    p, n = toward.sum(1), against.sum(1)
    if kind == "last":
        return torch.einsum("ji,j->i", toward + against, ratio(relevance, p + n))
    if kind == "convolution":
        up, down = relevance.clamp(min=0), relevance.clamp(max=0)
        c = torch.einsum("ji,j->i", toward, ratio(up, p))
        c += torch.einsum("ji,j->i", against, ratio(relevance, p + n) + ratio(down, n))
    else:
        c = torch.einsum("ji,j->i", toward, ratio(relevance, p))
        c += torch.einsum("ji,j->i", against, ratio(relevance, p + n))
    hit = c != 0
    return c - hit * (c.sum() - relevance.sum()) / max(int(hit.sum()), 1)


def reference(model, image, k, name, layer="last_relu"):
    """One map of one pair, before it is enlarged or its negative part dropped: (channels, height, width)."""
    modules = chain(copy.deepcopy(model))
    for module in modules:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    with torch.no_grad():
        xs = [image[None]]
        for module in modules:
            xs.append(module(xs[-1]))
        weights = [i for i, module in enumerate(modules) if isinstance(module, nn.Conv2d | nn.Linear)]
        score = xs[-1][0, k]
        signal = torch.zeros(CLASSES, dtype=image.dtype)
        signal[k] = score.abs() if name in ("lrp", "rap") else 1
        stop = cut_of(modules, layer) if name in ("gradcam", "ebp") else 0
        for i in reversed(range(stop, len(modules))):
            module, x, y = modules[i], xs[i][0].flatten(), xs[i + 1][0].flatten()
            if isinstance(module, nn.Dropout | nn.Identity | nn.Flatten):
                continue
            derivative = name in ("gradient", "guided", "gradcam")
            if isinstance(module, nn.ReLU):
                if derivative:
                    signal = signal * (y > 0) * ((signal > 0) if name == "guided" else 1)
            elif isinstance(module, nn.BatchNorm2d):
                if derivative:
                    signal = dense(module, xs[i][0]).T @ signal
            elif isinstance(module, nn.MaxPool2d):
                signal = winner_matrix(module, xs[i][0]).T @ signal
            elif derivative:
                signal = dense(module, xs[i][0]).T @ signal
            elif i == weights[0]:
                signal = z_box_rule(dense(module, xs[i][0]), x, signal)
            elif name == "rap" and i in weights:
                kind = "last" if i == weights[-1] else "convolution" if isinstance(module, nn.Conv2d) else "linear"
                signal = rap_rule(dense(module, xs[i][0]), x, signal, kind)
            else:
                signal = positive_rule(dense(module, xs[i][0]), x, signal)
    signal = signal.view(xs[stop].shape[1:])
    if name == "lrp":
        return signal.sum(0)
    if name in ("ebp", "gradcam"):
        weights = signal.sum((1, 2), keepdim=True)
        cells = signal.sum(0) if name == "ebp" else (weights * xs[stop][0]).sum(0)
        enlarged = F.interpolate(cells.clamp(min=0)[None, None], image.shape[1:], mode="bilinear", align_corners=False)
        return enlarged[0, 0]
    return signal.sum(0).clamp(min=0) if name == "rap" else signal


def noise_reference(image, image_id, sample, seed, spread):
    """The noise of one image and sample, from the words of the contract."""
    rng = np.random.Generator(np.random.PCG64(derived_seed(seed, "noise", image_id, sample)))
    draw = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)).double()
    return spread * (image.max() - image.min()) * draw


def integrated_reference(model, image, k, steps, baseline):
    """The gradient at every step, in a list."""
    away = image - baseline
    gradients = [reference(model, baseline + away * step / steps, k, "gradient") for step in range(1, steps + 1)]
    return away * sum(gradients) / steps


def attribution_reference(model, image, k, base, settings, baseline):
    """Attributions of one of the methods that have channels."""
    if base == "integrated_gradients":
        return integrated_reference(model, image, k, settings.steps, baseline)
    if base == "input_x_gradient":
        return image * reference(model, image, k, "gradient")
    return reference(model, image, k, base)


STATISTICS = {
    "smoothgrad": lambda samples: samples.mean(0),
    "smoothgrad_sq": lambda samples: (samples**2).mean(0),
    "vargrad": lambda samples: samples.var(0, unbiased=False),
}


def slow_map(name, model, image, image_id, k, settings, black):
    """The map of one pair by a method's public name.

    Args:
        name: of ``METHODS``.
        model: in float64.
        image: (C, H, W), float64.
        image_id: names it.
        k: the class.
        settings: [maps].
        black: a black image's normalized values, (C, 1, 1).
    """
    if name in ("gradcam", "ebp", "lrp", "rap"):
        return reference(model, image, k, name, settings.layer)
    baseline = black if settings.baseline == "black" else torch.zeros_like(black)
    for ending in ("smoothgrad_sq", "smoothgrad", "vargrad"):
        if name.endswith(ending):
            base = name.removesuffix(ending).removesuffix("_") or "gradient"
            draws = [
                noise_reference(image, image_id, s, settings.noise_seed, settings.spread)
                for s in range(settings.samples)
            ]
            samples = [attribution_reference(model, image + draw, k, base, settings, baseline) for draw in draws]
            return STATISTICS[ending](torch.stack(samples)).sum(0)
    attributions = attribution_reference(model, image, k, name.removesuffix("_abs"), settings, baseline)
    return (attributions.abs() if name.endswith("_abs") else attributions).sum(0)
