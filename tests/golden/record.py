"""What PyTorch says: the output of every module, under the name that vksteer gives its site.

A module is a site when it is called exactly once in a forward pass and returns a tensor, or a tuple of which item i
is a tensor (`name:i`; tuples in tuples are not looked into). So Dropout and Identity modules are sites, a
nonlinearity shared by several places is none, and neither are containers that are never called and modules that
return a ModelOutput (the models themselves, CLIPEncoder).
"""

import torch

LIMIT = 96  # values kept of one output


def stride_for(count):
    """Every stride-th value is kept: the smallest prime that brings `count` to LIMIT and does not divide it."""
    if count <= LIMIT:
        return 1
    step = (count + LIMIT - 1) // LIMIT
    while any(step % i == 0 for i in range(2, step)) or step < 2 or count % step == 0:
        step += 1
    return step


def channels_last(x):
    return x.permute(0, 2, 3, 1).contiguous() if x.ndim == 4 else x.contiguous()


def thin(x):
    flat = channels_last(x.detach().float()).flatten()
    return flat[::stride_for(flat.numel())].clone()


class Recorder:
    def __init__(self, prefix, module, batch):
        self.prefix, self.batch, self.calls, self.values, self.handles = prefix, batch, {}, {}, []
        for name, child in module.named_modules():
            if name:
                self.handles.append(child.register_forward_hook(self.hook(f"{prefix}.{name}")))

    def hook(self, name):
        def save(module, _inputs, output):
            self.calls[name] = self.calls.get(name, 0) + 1
            if isinstance(module, torch.nn.GroupNorm) and output.ndim == 3:  # (B, C, T); all others are (B, T, C)
                output = output.transpose(1, 2)
            if torch.is_tensor(output):
                self.values[name] = self.full(output)
            elif type(output) in (tuple, list):
                for i, item in enumerate(output):
                    if torch.is_tensor(item):
                        self.values[f"{name}:{i}"] = self.full(item)
        return save

    def full(self, x):
        # A position table is looked up once for the whole batch; its site has a row for every sample.
        x = x.detach().clone()
        return x.expand(self.batch, *x.shape[1:]).contiguous() if x.shape[0] == 1 else x

    def finish(self):
        for handle in self.handles:
            handle.remove()
        return {k: v for k, v in self.values.items() if self.calls[k.split(":")[0]] == 1}
