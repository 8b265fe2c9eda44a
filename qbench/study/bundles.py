"""Sets of diagnostics by their cost: what ``diagnostics: standard`` in a study file stands for."""

from typing import Any

__all__ = ["BUNDLES"]

ECONOMY: tuple[dict[str, Any], ...] = tuple(
    {"name": name, "every": 1}
    for name in (
        "flip_efficiency", "flip_rate", "latent_error", "margins", "method_readings",
        "oscillation", "train_deploy_gap",
    )
)  # fmt: skip
STANDARD: tuple[dict[str, Any], ...] = (
    *ECONOMY,
    *({"name": name, "checkpoints": 3} for name in ("gradient_norm", "output_gap")),
    *(
        {"name": name, "checkpoints": 3, "layers": 5}
        for name in ("flip_descent", "flip_sets", "jacobian_alignment")
    ),
)
FULL: tuple[dict[str, Any], ...] = (
    *ECONOMY,
    *(
        {"name": name, "checkpoints": 5}
        for name in (
            "curvature", "flip_descent", "flip_sets", "gradient_noise", "gradient_norm",
            "jacobian_alignment", "output_gap", "reste_pair", "self_consistency",
            "smoothed_alignment",
        )
    ),
)  # fmt: skip

BUNDLES: dict[str, tuple[dict[str, Any], ...]] = {
    "economy": ECONOMY,
    "standard": STANDARD,
    "full": FULL,
    "none": (),
}
"""``economy`` costs under 2 % and ``standard`` under 10 % of a 30-epoch ResNet-20 trial."""
