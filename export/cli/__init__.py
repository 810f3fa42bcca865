"""The verbs that train and export, by the group that they join.

Each opens its modules when it is called, because they load torch: `--help` needs none.
"""

from .material_commands import prior_pack, prior_render
from .prior_commands import (
    prior_export,
    prior_gan,
    prior_heads,
    prior_make,
    prior_train,
    prior_tune,
    prior_voices,
)
from .separator_commands import separator_estimate, separator_train

PRIOR_VERBS = (
    prior_train,
    prior_export,
    prior_heads,
    prior_tune,
    prior_gan,
    prior_voices,
    prior_pack,
    prior_make,
    prior_render,
)
SEPARATOR_VERBS = (separator_train, separator_estimate)

__all__ = ["PRIOR_VERBS", "SEPARATOR_VERBS"]
