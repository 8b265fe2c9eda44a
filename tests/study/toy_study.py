"""A small valid study document."""

from typing import Any

VALID: dict[str, Any] = {
    "study": "toy",
    "question": "Which?",
    "quantizers": ["float", "ste", {"name": "lsq", "training": {"epochs": 3}}],
    "models": ["mlp", "resnet8"],
    "data": {"sets": ["digits"], "validation": 100},
    "bits": ["W4A32", "W2A2"],
    "seeds": [0, 1],
    "training": {"epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 0.1}},
}
