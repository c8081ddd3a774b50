"""Parameter-efficient methods as layers that take the place of linear ones, and who trains.

model = attach(model, config, key)             # adapters in place, equal to the base at step 0
graphdef, leaves = flatten(model)
labels = label(leaves, config, head=model.head, new=())
trainable, frozen = split(leaves, labels)
model = unflatten(graphdef, {**trainable, **frozen})
"""

from jaxpeft.peft.inject import METHODS, attach, targets, virtual_tokens
from jaxpeft.peft.merge import merge, merged_shapes, merged_tensors, unmerge
from jaxpeft.peft.partition import ADAPTER, FROZEN, HEAD, Tree, base_path, count, flatten, label, split, unflatten
from jaxpeft.peft.switch import detach, switch

__all__ = [
    "ADAPTER",
    "FROZEN",
    "HEAD",
    "METHODS",
    "Tree",
    "attach",
    "base_path",
    "count",
    "detach",
    "flatten",
    "label",
    "merge",
    "merged_shapes",
    "merged_tensors",
    "split",
    "switch",
    "targets",
    "unflatten",
    "unmerge",
    "virtual_tokens",
]
