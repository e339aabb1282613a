"""The workloads in PyTorch."""

from runner import indices, main, options

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(options.threads)


def tensor(values):
    return torch.from_numpy(values)


def without_gradients(f):
    def run():
        with torch.no_grad():
            return f()

    return run


def result(f):
    return lambda: [f().detach().numpy()]


OPS = {
    "add": lambda w, a, b: lambda: a + b,
    "add_transposed": lambda w, a, b: lambda: a.t() + b,
    "exp": lambda w, a: lambda: a.exp(),
    "tanh": lambda w, a: lambda: a.tanh(),
    "sigmoid": lambda w, a: lambda: a.sigmoid(),
    "gelu_tanh": lambda w, a: lambda: F.gelu(a, approximate="tanh"),
    "sum": lambda w, a: lambda: a.sum(),
    "sum_axis": lambda w, a: lambda: a.sum(w["axis"]),
    "max_axis": lambda w, a: lambda: a.amax(w["axis"]),
    "transpose_copy": lambda w, a: lambda: a.t().contiguous(),
    "softmax": lambda w, a: lambda: a.softmax(-1),
    "sort": lambda w, a: lambda: a.sort().values,
    "matmul": lambda w, a, b: lambda: a @ b,
    "max_pool": lambda w, a: lambda: F.max_pool2d(a, w["kernel"], w["stride"], w["padding"]),
}


def fill(module, numbers):
    """Sets parameters in order: matrices by their fan-in, vectors of norms to 1, the rest to 0."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if isinstance(module.get_submodule(name.rpartition(".")[0]), nn.Embedding):
                p.copy_(tensor(numbers(p.shape, 0.1)))
            elif p.dim() > 1:
                p.copy_(tensor(numbers(p.shape, (3 / p[0].numel()) ** 0.5)))
            elif name.endswith("weight"):
                p.fill_(1)
            else:
                p.zero_()
    return module


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        h = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (h + (x if self.shortcut is None else self.shortcut(x))).relu()


class GptBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(h.transpose(1, 2).reshape(n, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(65, 128), nn.Embedding(128, 128)
        self.blocks = nn.Sequential(*[GptBlock(128) for _ in range(4)])
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 65, bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        return self.head(self.norm(self.blocks(x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(32, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def training(w, numbers):
    """The model of a workload, its batch, its loss and its optimizer."""
    n = w.get("batch", 4)
    labels = torch.from_numpy(indices(n, 10))
    kind = w["kind"]
    if kind == "tiny_step":
        net = fill(nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)), numbers)
        x, y = tensor(numbers((4, 2))), tensor(numbers((4, 1)))
        return net, lambda: F.mse_loss(net(x), y), torch.optim.SGD(net.parameters(), lr=0.1)
    if kind == "mlp_step":
        layers = [nn.Linear(a, b) for a, b in zip(w["sizes"], w["sizes"][1:])]
        net = fill(nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]), numbers)
        x = tensor(numbers((n, w["sizes"][0])))
    elif kind == "lenet_step":
        net = fill(nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                                 nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                                 nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)), numbers)
        x = tensor(numbers((n, 1, 28, 28)))
    elif kind == "resnet_step":
        net = fill(nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), Block(32, 32, 1),
                                 Block(32, 64, 2), Block(64, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                 nn.Linear(64, 10)), numbers)
        x = tensor(numbers((n, 3, 32, 32)))
    elif kind == "gpt_step":
        net = fill(Gpt(), numbers)
        ids = torch.from_numpy(indices(n * 129, 65)).view(n, 129)
        x, y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        loss = lambda: F.cross_entropy(net(x).view(-1, 65), y.view(-1))
        return net, loss, torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    elif kind == "lstm_step":
        net = fill(Recurrent(), numbers)
        x = tensor(numbers((n, 64, 32)))
    else:
        return None
    return net, lambda: F.cross_entropy(net(x), labels), torch.optim.Adam(net.parameters(), lr=1e-3)


def build(w, numbers):
    kind = w["kind"]
    if kind in OPS:
        f = without_gradients(OPS[kind](w, *[tensor(numbers(s)) for s in w["shapes"]]))
        return f, result(f)
    if kind == "layer_norm":
        a, n = tensor(numbers(w["shapes"][0])), w["shapes"][0][-1]
        weight, bias = tensor(numbers([n])), tensor(numbers([n]))
        f = without_gradients(lambda: F.layer_norm(a, [n], weight, bias))
        return f, result(f)
    if kind == "gather":
        a, i = tensor(numbers(w["shapes"][0])), torch.from_numpy(indices(w["rows"], w["shapes"][0][0]))
        f = without_gradients(lambda: a.index_select(0, i))
        return f, result(f)
    if kind == "add_recorded":
        a, b = (tensor(numbers(s)) for s in w["shapes"])
        a.requires_grad_()
        return lambda: a + b, result(lambda: a + b)
    if kind == "chain":
        x = torch.tensor(0.5, requires_grad=True)

        def chain():
            y = x
            for _ in range(w["length"]):
                y = y.sin() * 0.9
            return torch.autograd.grad(y, x)[0]

        return chain, result(chain)
    if kind in ("conv", "conv_backward"):
        x, weight = tensor(numbers(w["x"])), tensor(numbers(w["w"], 0.1))
        run = lambda: F.conv2d(x, weight, None, w["stride"], w["padding"], groups=w["groups"])
        if kind == "conv":
            f = without_gradients(run)
            return f, result(f)
        x.requires_grad_(), weight.requires_grad_()
        g = tensor(numbers(list(run().shape)))

        def both():
            return torch.autograd.grad(run(), (x, weight), g)

        return both, lambda: [t.numpy() for t in both()]
    if kind == "adamw":
        params = [nn.Parameter(tensor(numbers([w["elements"]]))) for _ in range(w["tensors"])]
        for p in params:
            p.grad = tensor(numbers([w["elements"]]))
        optimizer = torch.optim.AdamW(params, lr=1e-3, weight_decay=0.01, foreach=True)

        def steps():
            for _ in range(3):
                optimizer.step()
            return [p.detach().numpy() for p in params[:2]]

        return optimizer.step, steps
    if kind == "gpt_forward":
        net = fill(Gpt(), numbers).eval()
        ids = torch.from_numpy(indices(w["batch"] * 129, 65)).view(w["batch"], 129)[:, :-1].contiguous()
        f = without_gradients(lambda: net(ids))
        return f, result(f)
    trained = training(w, numbers)
    if trained is None:
        return None
    net, loss, optimizer = trained

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return step, lambda: [[step().item() for _ in range(3)]]


main({"PyTorch": torch.__version__}, build)
