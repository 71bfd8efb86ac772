"""A frozen base in 16 bits: its linear layers are kept and multiplied in bfloat16, all else stays in 32.

Each such layer takes what comes and gives it back in the type it came in, as a 4-bit layer does. So nothing
has to be arranged around a model: whoever calls any part of it, in training or later, needs not know.
"""

from collections.abc import Iterable

import torch


class HalfLinear(torch.nn.Linear):
    """A linear layer with weights in bfloat16 for inputs of any type."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def keep_in_half(model: torch.nn.Module, names: Iterable[str]) -> None:
    """Put `HalfLinear` in place of linear layers, by their names."""
    for name in names:
        plain = model.get_submodule(name)
        assert isinstance(plain, torch.nn.Linear)
        half = HalfLinear(plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta")
        half.load_state_dict(plain.to(torch.bfloat16).state_dict(), assign=True)
        model.set_submodule(name, half.train(plain.training))
