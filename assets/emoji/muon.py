"""Muon, the optimiser of the matrices in train.py and judge.py."""
import torch


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by a Newton-Schulz iteration, for weights seen as matrices (rows, the rest).

    m <- beta m + g;  O = orthogonal factor of (g + beta m), so that every direction is learned at one rate;
    w <- w - lr (.2 sqrt(max(rows, columns)) O + decay w): the root mean square of a step is that of AdamW at the same
    lr. Jordan et al. 2024 (Muon, quintic coefficients); Liu et al. 2025, arXiv 2502.16982 (scale).
    """

    def __init__(self, weights, lr, decay, beta=.95):
        super().__init__(weights, dict(lr=lr))
        self.decay, self.beta = decay, beta

    @staticmethod
    def orthogonalise(g, rounds=5):
        x = g.bfloat16()
        if g.shape[0] > g.shape[1]:
            x = x.T
        x = x / (x.norm() + 1e-7)
        for _ in range(rounds):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        return (x.T if g.shape[0] > g.shape[1] else x).to(g.dtype)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                m.mul_(self.beta).add_(p.grad)
                o = self.orthogonalise((p.grad + self.beta * m).flatten(1))
                p.mul_(1 - group["lr"] * self.decay)
                p.add_(o.view_as(p), alpha=-.2 * max(o.shape) ** .5 * group["lr"])
