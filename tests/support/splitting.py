"""A VGG as two sequences that run one after the other: an oracle for what looks at a layer by a hook."""

from torch import nn

from roar_pipeline.networks.layers import count_to


def split_at(model: nn.Module, layer: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Split the model into two that share its modules: ``upper(lower(images))`` are the model's scores."""
    modules = list(model.get_submodule("features").children())
    boundary = count_to(layer, modules)
    assert boundary is not None
    head = [model.get_submodule(name) for name in ("avgpool", "flatten", "classifier")]
    return nn.Sequential(*modules[:boundary]), nn.Sequential(*modules[boundary:], *head)
