"""DistilBERT for sequence classification, in the shape in which it is quantised.

Parameter names are those of transformers' `DistilBertForSequenceClassification`,
so state dicts move both ways; `minilm.verify` asserts that the results are equal.
It is written out here for two reasons: the last layer computes only the [CLS]
position (the classifier reads nothing else, so this is exact), and calibration
needs the input of every matrix product as the quantised graph has it.
"""

import torch
import torch.nn.functional as F
from torch import nn

HIDDEN, LAYERS, HEADS, FFN, VOCAB, POSITIONS = 384, 6, 12, 1536, 30522, 512
LAYER_NORM_EPS = 1e-12
DROPOUT, CLASSIFIER_DROPOUT = 0.1, 0.2


class Tap(nn.Module):
    """Passes a tensor on, and keeps a copy of its rows while `rows` is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[torch.Tensor] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.rows is not None:
            self.rows.append(x.detach().flatten(0, -2))
        return x


class NormalizedLinear(nn.Linear):
    """A linear layer on rows that are normalised but not yet scaled and shifted.

    `norm` is folded into weight and bias. Quantising before gamma and beta matters,
    since a few channels with large ones would otherwise stretch the range of all.
    """

    def forward(self, x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
        return F.linear(
            x, self.weight * norm.weight, self.bias + self.weight @ norm.bias
        )


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_tap = Tap()
        self.q_lin = NormalizedLinear(HIDDEN, HIDDEN)
        self.k_lin = NormalizedLinear(HIDDEN, HIDDEN)
        self.v_lin = NormalizedLinear(HIDDEN, HIDDEN)
        self.context_tap = Tap()
        self.out_lin = nn.Linear(HIDDEN, HIDDEN)

    def forward(
        self,
        x: torch.Tensor,
        norm: nn.LayerNorm,
        mask: torch.Tensor | None,
        cls_only: bool,
    ) -> torch.Tensor:
        batch = x.shape[0]
        x = self.input_tap(x)
        queries = x[:, :1] if cls_only else x

        def split(t: torch.Tensor) -> torch.Tensor:
            return t.view(batch, -1, HEADS, HIDDEN // HEADS).transpose(1, 2)

        context = F.scaled_dot_product_attention(
            split(self.q_lin(queries, norm)),
            split(self.k_lin(x, norm)),
            split(self.v_lin(x, norm)),
            attn_mask=None if mask is None else mask[:, None, None, :],
            dropout_p=DROPOUT if self.training else 0.0,
        )
        context = context.transpose(1, 2).reshape(batch, -1, HIDDEN)
        return self.out_lin(self.context_tap(context))


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_tap = Tap()
        self.lin1 = NormalizedLinear(HIDDEN, FFN)
        self.hidden_tap = Tap()
        self.lin2 = nn.Linear(FFN, HIDDEN)

    def forward(self, x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
        x = F.gelu(self.lin1(self.input_tap(x), norm))
        return F.dropout(self.lin2(self.hidden_tap(x)), DROPOUT, self.training)


def normalize(x: torch.Tensor) -> torch.Tensor:
    """Layer normalisation without scale and shift."""
    return F.layer_norm(x, (HIDDEN,), eps=LAYER_NORM_EPS)


def scale_and_shift(x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    """The second half of layer normalisation."""
    return x * norm.weight + norm.bias


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.sa_layer_norm = nn.LayerNorm(HIDDEN, eps=LAYER_NORM_EPS)
        self.ffn = FeedForward()
        self.output_layer_norm = nn.LayerNorm(HIDDEN, eps=LAYER_NORM_EPS)

    def forward(
        self,
        x: torch.Tensor,
        norm: nn.LayerNorm,
        mask: torch.Tensor | None,
        cls_only: bool,
    ) -> torch.Tensor:
        """Takes and gives normalised rows; `norm` has the scale and shift of the rows taken."""
        residual = scale_and_shift(x[:, :1] if cls_only else x, norm)
        x = normalize(self.attention(x, norm, mask, cls_only) + residual)
        return normalize(
            self.ffn(x, self.sa_layer_norm) + scale_and_shift(x, self.sa_layer_norm)
        )


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCAB, HIDDEN, padding_idx=0)
        self.position_embeddings = nn.Embedding(POSITIONS, HIDDEN)
        self.LayerNorm = nn.LayerNorm(HIDDEN, eps=LAYER_NORM_EPS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]]
        return F.dropout(normalize(x), DROPOUT, self.training)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer() for _ in range(LAYERS))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.transformer = Transformer()

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, cls_only: bool = True
    ) -> torch.Tensor:
        """Gives the hidden states of the last layer, of [CLS] alone if `cls_only`."""
        # Batches without padding need no mask, and are faster without.
        attention_mask = None if bool(mask.all()) else mask
        x, norm = self.embeddings(ids), self.embeddings.LayerNorm
        for i, layer in enumerate(self.transformer.layer):
            x = layer(x, norm, attention_mask, cls_only and i == LAYERS - 1)
            norm = layer.output_layer_norm
        return scale_and_shift(x, norm)


class Classifier(nn.Module):
    """Token ids to logits [batch, 2]: NEGATIVE, POSITIVE."""

    def __init__(self) -> None:
        super().__init__()
        self.distilbert = Encoder()
        self.pre_classifier = nn.Linear(HIDDEN, HIDDEN)
        self.classifier = nn.Linear(HIDDEN, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.pre_classifier(self.distilbert(ids, mask)[:, 0]))
        return self.classifier(F.dropout(x, CLASSIFIER_DROPOUT, self.training))
