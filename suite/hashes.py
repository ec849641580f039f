"""What a built backbone and its tokenizer hold, as hashes for the keys of results."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from suite.errors import UserError
from suite.store import digest

if TYPE_CHECKING:
    from suite.core import Backbone
    from suite.view import View


def weights_hash(backbone: Backbone) -> str:
    """sha256 over names and contents of everything in the built backbone."""
    total = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        total.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def with_tokenizer(view: View, weights: str) -> tuple[str | None, str]:
    """Why the tokenizer cannot be had, if so, and the hash of weights and tokenizer."""
    from suite.data import seen

    try:
        content = json.loads(seen.tokenizer(view.tokenizer, view.words).backend_tokenizer.to_str())
    except UserError as error:
        return str(error), "missing"
    used = {"truncation", "padding"}  # as it was called last
    return None, digest([weights, {name: value for name, value in content.items() if name not in used}])
