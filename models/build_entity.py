"""Makes the `entity` model: 64 numbers of what a host and its peers did in a day, from scaling and projecting.

    clip((log(1 + x) - centre) / scale, -8, 8) x (weights x principal components)

Fitted without labels, to the hosts of the project's own recorded traffic and to those of synthetic days
(`synthetic_hosts.py`). A group of numbers (ports, hours, verdicts, ...) weighs the same whether it has 3 columns or
24, and what the peers did weighs half of what the host itself did. Vectors are compared by Euclidean distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.making import Made, Recipe, parser, progress, run
from models.pca_graph import LogProjection, principal_axes, signed_log
from models.sample import measure, read_events, sample_files
from models.synthetic_hosts import day_profiles
from services.common.days.columns import ADDRESS_BYTES, pack_address
from services.common.days.day_hosts import find_hosts
from services.common.days.names import NS_PER_DAY
from services.common.embedding.manifest import MODEL_FILE, InputSchema
from services.common.events.profiles import GROUPS, OWN, PROFILE, profiles_schema_hash
from services.common.events.table import tabulate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.events.network_security_pb2 import NetworkSecurityEvent

    Matrix = NDArray[np.float64]

NAME = "entity"
DIM = 64
SYNTHETIC_DAYS = 24
SAMPLE_SHARE = 0.25
PEERS_WEIGHT = 0.5
LEAST_DEVIATION = 0.1
"""On the log scale, where a share has at most log(2): a column that hardly varies is not blown up."""


def fit(seen: NDArray[np.float32], synthetic: NDArray[np.float32]) -> tuple[LogProjection, float]:
    """Fit to profiles (m, len(PROFILE)) of both kinds; also the share of the weighted variance that is kept.

    Deterministic: the same profiles give the same projection.
    """
    rows = signed_log(np.concatenate((seen, synthetic)))
    share = np.concatenate(
        (
            np.full(len(seen), SAMPLE_SHARE / len(seen)),
            np.full(len(synthetic), (1 - SAMPLE_SHARE) / len(synthetic)),
        )
    )
    centre = share @ rows
    scale = np.maximum(np.sqrt(share @ (rows - centre) ** 2), LEAST_DEVIATION)
    weights = column_weights()
    scaled = (rows - centre) / scale * weights
    axes, variances = principal_axes(scaled.T @ (scaled * share[:, None]), DIM)
    explained = float(variances[:DIM].sum() / variances.sum())
    return LogProjection((len(PROFILE),), centre, scale, weights[:, None] * axes), explained


def column_weights() -> Matrix:
    """One weight a column (len(PROFILE),): the squares of a group add up to 1, those of a peers' group to a quarter."""
    own = np.empty(len(OWN))
    for group in GROUPS:
        own[list(group)] = 1 / np.sqrt(len(group))
    return np.concatenate((own, PEERS_WEIGHT * own))


def sample_profiles(events: Sequence[NetworkSecurityEvent]) -> NDArray[np.float32]:
    """The profiles of the hosts of each day of some events, float32 (m, len(PROFILE)); the detectors say nothing."""
    table = tabulate(events, [event.SerializeToString(deterministic=True) for event in events])
    addresses = sorted({*table.src_ip, *table.dst_ip})
    numbers = {address: number for number, address in enumerate(addresses)}
    columns: dict[str, NDArray[np.generic]] = {
        "src_ip": np.array([numbers[address] for address in table.src_ip], np.uint32),
        "dst_ip": np.array([numbers[address] for address in table.dst_ip], np.uint32),
        "time_ns": table.time_ns,
        "dst_port": table.dst_port,
        "protocol": table.protocol,
        "bytes": table.bytes,
        "packets": table.packets,
    }
    nothing = dict.fromkeys(
        ("class", "overall", "divergence", "fast_triggered"), np.zeros(len(events), np.uint8)
    )
    packed = np.frombuffer(b"".join(map(pack_address, addresses)), np.uint8).reshape(-1, ADDRESS_BYTES)
    days = table.time_ns // NS_PER_DAY
    parts = [
        _Rows({name: values[days == day] for name, values in (columns | nothing).items()}, packed)
        for day in np.unique(days)
    ]
    return np.concatenate([find_hosts([part]).profiles for part in parts])


@dataclass(frozen=True)
class _Rows:
    """Events of a day as `find_hosts` takes them."""

    columns: dict[str, NDArray[np.generic]]
    addresses: NDArray[np.uint8]
    texts: tuple[str, ...] = ("",)

    @property
    def rows(self) -> int:
        return len(self.columns["time_ns"])


def make(_options: argparse.Namespace) -> Made:
    """Read the sample, make the synthetic days, fit, check and measure."""
    files = sample_files()
    seen = sample_profiles(read_events(files))
    synthetic = np.concatenate([day_profiles(seed) for seed in range(SYNTHETIC_DAYS)])
    progress(NAME, f"fitting to {len(seen)} recorded and {len(synthetic)} synthetic hosts")
    fitted, explained = fit(seen, synthetic)
    model = fitted.to_onnx()
    measured = measure(fitted, model, synthetic)
    measured |= {
        "variance_explained": explained,
        "hosts_recorded": len(seen),
        "hosts_synthetic": len(synthetic),
    }
    progress(NAME, f"{explained:.4f} of the variance is kept")
    return Made(recipe(), {MODEL_FILE: model}, measured, tuple(file.name for file in files))


def recipe() -> Recipe:
    """The model's description."""
    return Recipe(
        name=NAME,
        version="1",
        input=InputSchema(kind="profiles", hash=profiles_schema_hash(), shape=(len(PROFILE),)),
        dim=DIM,
        metric="l2",
        licence="Apache-2.0 (made by this project)",
        training_data="Hosts of the project's own recorded traffic in samples/, and of synthetic days; without labels.",
    )


if __name__ == "__main__":
    run(make, parser(__doc__))
