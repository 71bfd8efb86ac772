"""The doctor's self-test, run as a process of its own: does a LoRA on a 4-bit layer learn here?

Prints one line of JSON: `{"ok", "device", "seconds"}` or `{"ok": false, "error"}`.
"""

import json
import sys
import time
from typing import Any


def main() -> int:
    """Run the test; the exit code is 0 when it passed."""
    started = time.monotonic()
    try:
        device = _train_one_layer()
        result: dict[str, Any] = {"ok": True, "device": device, "seconds": time.monotonic() - started}
    except Exception as error:  # whatever is broken here is the answer
        result = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def _train_one_layer() -> str:
    import torch
    from bitsandbytes.nn.modules import Linear4bit

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = Linear4bit(
        64, 64, bias=False, compute_dtype=torch.float32, compress_statistics=True, quant_type="nf4"
    ).to(device)
    if base.weight.dtype != torch.uint8:
        raise RuntimeError("the weights were not packed into 4 bits")
    base.support_avx512bf16_for_cpu = False
    down = torch.nn.Linear(64, 8, bias=False, device=device)
    up = torch.nn.Linear(8, 64, bias=False, device=device)
    torch.nn.init.zeros_(up.weight)
    optimizer = torch.optim.AdamW([*down.parameters(), *up.parameters()], lr=0.02)
    x, target = torch.randn(32, 64, device=device), torch.randn(32, 64, device=device)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.mse_loss(base(x) + up(down(x)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    if not losses[-1] < 0.9 * losses[0]:
        raise RuntimeError(f"the loss did not fall ({losses[0]:.3f} to {losses[-1]:.3f})")
    return device


if __name__ == "__main__":
    sys.exit(main())
