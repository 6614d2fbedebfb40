"""What stands between a reader and the files of a day: keys that decrypt, trials of indices, and who vouches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.follower import NO_VOUCHING
from services.common.days.trial import NO_TRIALS
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from services.common.chain.follower import Vouching
    from services.common.days.trial import Trials
    from services.common.rest.log_keys import LogKeys


@dataclass(frozen=True)
class Opening:
    """How files of days are opened."""

    keys: LogKeys = NO_KEYS  # of logs that are encrypted
    trials: Trials = NO_TRIALS  # of sealed indices, before they are opened
    vouching: Vouching = NO_VOUCHING  # for sealed manifests, before anything that they name is opened


PLAIN = Opening()
"""Nothing is encrypted, and what is whole is believed."""
