"""scGPT of stock `torch.nn` layers under the official names, one padded cell at a time: what our net is held against where no fixture is.

Its parts are made in the order of the official constructor, so it also draws from the global generator as that does.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

Cell = tuple[Tensor, Tensor]


class Outputs(NamedTuple):
    """Of one cell: hidden (T, D), context (T,), from_cell (T,)."""

    hidden: Tensor
    context: Tensor
    from_cell: Tensor


class Reference(nn.Module):
    def __init__(
        self,
        n_words: int,
        *,
        d: int = 16,
        heads: int = 2,
        d_hid: int = 24,
        layers: int = 2,
        n_cls: int = 1,
        batches: int = 0,
        domains: int = 0,
        affine: bool = False,
        one_norm: bool = False,
        zeros: bool = False,
        style: str = "inner product",
    ) -> None:
        super().__init__()
        d_in = 2 * d if batches else d
        self.encoder = table(n_words, d)
        self.value_encoder = nn.ModuleDict({"linear1": nn.Linear(1, d), "linear2": nn.Linear(d, d), "norm": nn.LayerNorm(d)})
        if batches:
            self.batch_encoder = table(batches, d)
        if domains:
            norms = nn.ModuleList(nn.BatchNorm1d(d, eps=6.1e-5, affine=affine) for _ in range(domains))
            self.dsbn = nn.ModuleDict({"bns": norms})
        if one_norm:
            self.bn = nn.BatchNorm1d(d, eps=6.1e-5)
        layer = nn.TransformerEncoderLayer(d, heads, d_hid, dropout=0.2, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.decoder = nn.ModuleDict({"fc": small_net(d_in, d), **({"zero_logit": small_net(d_in, d)} if zeros else {})})
        self.cls_decoder = classifier(d, n_cls)
        self.style = style
        self.mvc_decoder = nn.ModuleDict(cell_head(style, d, d_in, zeros=zeros))
        if batches:
            self.grad_reverse_discriminator = classifier(d, batches)
        nn.init.uniform_(self.encoder["embedding"].weight, -0.1, 0.1)

    def forward(self, cell: Cell, batch: int = 0) -> Outputs:
        ids, values = cell
        genes = run_table(self.encoder, ids)
        x = self.value_encoder["linear1"](values.clamp(max=512)[:, None]).relu()
        x = genes + self.value_encoder["norm"](self.value_encoder["linear2"](x))
        if hasattr(self, "dsbn"):
            x = self.dsbn["bns"][batch](x.T[None])[0].T
        if hasattr(self, "bn"):
            x = self.bn(x.T[None])[0].T
        padded = torch.cat([x, x.new_ones(3, x.shape[1])])[None]
        is_padding = torch.arange(len(x) + 3)[None] >= len(x)
        hidden = self.transformer_encoder(padded, src_key_padding_mask=is_padding)[0, : len(x)]
        beside = run_table(self.batch_encoder, torch.tensor(batch)) if hasattr(self, "batch_encoder") else hidden.new_empty(0)
        context = self.decoder["fc"](torch.cat([hidden, beside.expand(len(hidden), -1)], dim=1))[:, 0]
        return Outputs(hidden, context, self.from_cell(torch.cat([hidden[0], beside]), genes))

    def from_cell(self, cell: Tensor, genes: Tensor) -> Tensor:
        head = self.mvc_decoder
        query = head["gene2query"](genes).sigmoid()
        if "W" in head:
            return head["W"](query) @ cell
        cells = cell.expand(len(genes), -1)
        x = torch.cat([cells, query], dim=1) if self.style == "concat query" else cells + query
        return head["fc2"](head["hidden_activation"](head["fc1"](x)))[:, 0]


def table(n_words: int, d: int) -> nn.Module:
    return nn.ModuleDict({"embedding": nn.Embedding(n_words, d), "enc_norm": nn.LayerNorm(d)})


def run_table(module: nn.Module, ids: Tensor) -> Tensor:
    return module["enc_norm"](module["embedding"](ids))


def small_net(d_in: int, d: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d_in, d), nn.LeakyReLU(), nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, 1))


def classifier(d: int, n: int) -> nn.Module:
    hidden = [part for _ in range(2) for part in (nn.Linear(d, d), nn.ReLU(), nn.LayerNorm(d))]
    return nn.ModuleDict({"_decoder": nn.ModuleList(hidden), "out_layer": nn.Linear(d, n)})


def cell_head(style: str, d: int, d_in: int, *, zeros: bool) -> dict[str, nn.Module]:
    if style == "inner product":
        zero = {"W_zero_logit": nn.Linear(d, d_in)} if zeros else {}
        return {"gene2query": nn.Linear(d, d), "W": nn.Linear(d, d_in, bias=False), **zero}
    width, d_query = (64 + d, 64) if style == "concat query" else (d, d)
    return {"gene2query": nn.Linear(d, d_query), "fc1": nn.Linear(width, 64), "hidden_activation": nn.PReLU(), "fc2": nn.Linear(64, 1)}


def random_reference(n_words: int, seed: int = 0, **sizes: object) -> Reference:
    """With random weights, norms and running statistics included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Reference(n_words, **sizes).eval()
        with torch.no_grad():
            for name, tensor in net.state_dict().items():
                if tensor.is_floating_point():
                    tensor += 0.1 * torch.randn_like(tensor).abs() if "running_var" in name else 0.1 * torch.randn_like(tensor)
    return net.requires_grad_(False)


def official_tensors(net: Reference, attention: str = "self_attn.Wqkv.") -> dict[str, Tensor]:
    """Its weights as the official code saves them with flash-attn ("self_attn.Wqkv.", wrapped "self_attn._impl.Wqkv."), or as they are."""
    out = attention.replace("Wqkv.", "out_proj.")
    tensors = {name.replace("self_attn.in_proj_", attention): tensor for name, tensor in net.state_dict().items()}
    return tensors if attention == "self_attn.in_proj_" else {n.replace("self_attn.out_proj.", out): t for n, t in tensors.items()}


def args_of(net: Reference) -> dict[str, object]:
    """``args.json``, with the fields of the official file that say something of the net."""
    layer = net.transformer_encoder.layers[0]
    return {
        "embsize": layer.linear1.in_features,
        "d_hid": layer.linear1.out_features,
        "nheads": layer.self_attn.num_heads,
        "nlayers": len(net.transformer_encoder.layers),
        "n_layers_cls": 3,
        "n_bins": 51,
        "pad_token": "<pad>",
        "pad_value": -2,
        "mask_value": -1,
        "input_emb_style": "continuous",
        "input_style": "binned",
        "max_seq_len": 1200,
        "fast_transformer": True,
        "no_cls": True,
        "MVC": True,
    }
