"""What is minimised: contrastive, and the linear autoencoder of item vectors."""

import torch
from torch.nn.functional import cross_entropy, log_softmax, normalize


def info_nce(
    anchors: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float,
    hidden: torch.Tensor,
    offset: torch.Tensor,
) -> torch.Tensor:
    """Each anchor's target against all targets of the batch.

    Args:
        anchors: [N, D], unit length.
        targets: [M, D], unit length; target n belongs to anchor n, those from N on to nobody
            (hard negatives).
        temperature: what likenesses are divided by.
        hidden: bool [N, M], targets that are no honest negatives of an anchor.
        offset: [M], subtracted from each target's logit: the logarithm of how often it is drawn
            makes scores say how often a pair occurs, zeros by how much more often than chance.

    Returns:
        [N], the loss of each pair; in-batch pairs are also asked the other way round.

    Source:
        van den Oord et al. 2018, arXiv:1807.03748; Yi et al. 2019, doi:10.1145/3298689.3346996.
    """
    logits = (anchors @ targets.T) / temperature
    logits = (logits - offset).masked_fill(hidden, torch.finfo(logits.dtype).min)
    n_pairs = len(anchors)
    own = torch.arange(n_pairs, device=logits.device)
    back = logits[:, :n_pairs].T
    asked = cross_entropy(logits, own, reduction="none")
    return (asked + cross_entropy(back, own, reduction="none")) / 2


def autoencoder(vectors: torch.Tensor, histories: torch.Tensor) -> torch.Tensor:
    """How well people's histories are rebuilt by the likeness of the items in them.

    X ≈ X (A Aᵀ - I), with A the items' unit vectors, so that no item explains itself; both sides
    are brought to unit length a row.

    Args:
        vectors: [M, D], unit length.
        histories: [N, M], what each person had of these items.

    Source:
        Vančura et al. 2024, "beeFormer", doi:10.1145/3640457.3691707.
    """
    rebuilt = (histories @ vectors) @ vectors.T - histories
    miss = normalize(histories, dim=1) - normalize(rebuilt, dim=1)
    return miss.square().sum(dim=1).mean()


def soft_cross_entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against a distribution a row; both [N, C]."""
    return -(wanted * log_softmax(logits, dim=1)).sum(dim=1).mean()
