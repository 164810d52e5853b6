"""A Gemma decoder in plain PyTorch, with the parameter names of Hugging Face checkpoints."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.cells import piece_count, tone_codes
from training.world import COLOURS, SHAPES


@dataclass(frozen=True)
class GemmaConfig:
    """Sizes under the names of config.json."""

    vocab_size: int
    hidden_size: int = 192
    intermediate_size: int = 448
    num_hidden_layers: int = 6
    num_attention_heads: int = 6
    num_key_value_heads: int = 6
    head_dim: int = 32
    max_position_embeddings: int = 1024
    rms_norm_eps: float = 1e-6
    rope_theta: float = 500.0  # turns that tell places in 400 ids apart, not in 8,000

    def to_json(self) -> dict:
        """The whole config.json of a GemmaForCausalLM."""
        return {
            "architectures": ["GemmaForCausalLM"],
            "model_type": "gemma",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "initializer_range": 0.02,
            "rope_scaling": None,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "transformers_version": "4.39.2",
            **asdict(self),
        }


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * (1 + self.weight)).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, half-split; x [B, heads, T, head_dim], cos and sin [B, 1, T, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config: GemmaConfig):
        super().__init__()
        hidden, self.head_dim = config.hidden_size, config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(hidden, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, _ = x.shape

        def split(y: Tensor, heads: int) -> Tensor:
            return y.view(batch, length, heads, self.head_dim).transpose(1, 2)

        q = rotate(split(self.q_proj(x), self.heads), cos, sin)
        k = rotate(split(self.k_proj(x), self.kv_heads), cos, sin)
        v = split(self.v_proj(x), self.kv_heads)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        with torch.autocast("cpu", enabled=False):  # in bfloat16, this is slower on CPUs
            q, k, v = q.float(), k.float(), v.float()
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, config: GemmaConfig):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: GemmaConfig):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class FactoredEmbedding(nn.Module):
    """An embedding whose last rows are sums: piece + the shapes it is part of + colour.

    A code for a piece of a shape in a colour (see `cells`) has no row of its own, so what is
    learned of a shape holds in every colour and for all its pieces. As the tied head it makes their
    probabilities products. `membership` says how often a piece is part of each shape
    (`cells.piece_shapes`). `weight` is the plain table [vocabulary, hidden] that a checkpoint
    stores.
    """

    def __init__(self, vocabulary: int, hidden: int, colours: int, pieces: int):
        super().__init__()
        self.free = nn.Parameter(torch.empty(vocabulary - colours * pieces, hidden))
        self.pieces = nn.Parameter(torch.empty(pieces, 1, hidden))
        self.colours = nn.Parameter(torch.empty(1, colours, hidden))
        self.shapes = nn.Parameter(torch.empty(len(SHAPES), hidden))
        self.register_buffer("membership", torch.zeros(pieces, len(SHAPES)))
        self.words = len(self.free) - len(tone_codes()[1])

    @property
    def weight(self) -> Tensor:
        pieces = self.pieces + (self.membership @ self.shapes)[:, None]
        return torch.cat((self.free, (pieces + self.colours).flatten(0, 1)))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class Decoder(nn.Module):
    def __init__(self, config: GemmaConfig):
        super().__init__()
        self.embed_tokens = FactoredEmbedding(
            config.vocab_size, config.hidden_size, len(COLOURS), piece_count()
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Gemma(nn.Module):
    """The language model; its head is the transposed embedding."""

    def __init__(self, config: GemmaConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        # The embedding scale is rounded to bfloat16, as in the released model.
        self.scale = float(torch.tensor(config.hidden_size**0.5).bfloat16())
        half = torch.arange(0, config.head_dim, 2).float() / config.head_dim
        self.register_buffer("frequencies", config.rope_theta**-half, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)
            elif parameter.dim() >= 2:
                std = 0.05 if "embed" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        half: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The normed last hidden states, and those of the middle.

        Args:
            ids: int64 [B, T].
            positions: int64 [B, T], when they are not 0..T-1.
            mask: bool [B, 1, T, T], True where a query (third axis) may look; causal without it.
            half: stop at the middle, and return that twice.

        Returns:
            Two of [B, T, hidden].
        """
        if positions is None:
            positions = torch.arange(ids.shape[1]).expand_as(ids)
        angles = positions[:, None, :, None].float() * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        x = self.model.embed_tokens(ids)
        x = x * self.scale
        cos, sin = angles.cos(), angles.sin()
        middle = x
        for number, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, mask)
            if number == len(self.model.layers) // 2 - 1:
                middle = x
                if half:
                    return x, x
        return self.model.norm(x), middle

    def checkpoint(self) -> dict[str, Tensor]:
        """The weights under their names in a Hugging Face checkpoint, the embedding plain."""
        weights = {n: p for n, p in self.state_dict().items() if "embed_tokens" not in n}
        return {"model.embed_tokens.weight": self.model.embed_tokens.weight.detach(), **weights}

    def code_logits(self, hidden: Tensor) -> Tensor:
        """Of the codes alone, float32 [..., codes]."""
        table = self.model.embed_tokens
        return F.linear(hidden, table.weight[table.words :]).float()

    def word_logits(self, hidden: Tensor) -> Tensor:
        """Of the text vocabulary alone, float32 [..., words]."""
        table = self.model.embed_tokens
        return F.linear(hidden, table.free[: table.words]).float()
