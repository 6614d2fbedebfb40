"""The registry of features: every number of the contract that describes behaviour, in contract order.

A model states the hash of the registry it was made for. Whatever changes a path, a unit or the order raises
`SCHEMA_VERSION`. docs/features.md lists the registry and says what is left out, and why.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import starmap
from typing import Literal

Layer = Literal["basic", "flow", "time", "flags", "payload", "detectors"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Feature:
    """One number: its path from the event, its unit ("1" for ratios and scores), and what it says."""

    path: str
    unit: str
    meaning: str
    layer: Layer


_FLOW = (
    ("destination_port", "port", "port the flow went to", "basic"),
    ("protocol_number", "IANA number", "transport protocol: 6 TCP, 17 UDP, 1 ICMP", "basic"),
    ("interface_mode", "number", "how the capturing interface works, as the sensor counts modes", "basic"),
    ("is_wan_facing", "0 or 1", "captured on the interface that faces the internet", "basic"),
    ("flow_duration_microseconds", "us", "from first to last packet; taken from flow_duration if 0", "flow"),
    ("total_forward_packets", "packets", "packets sent", "flow"),
    ("total_backward_packets", "packets", "packets received", "flow"),
    ("total_forward_bytes", "bytes", "bytes sent", "flow"),
    ("total_backward_bytes", "bytes", "bytes received", "flow"),
    ("forward_packet_length_max", "bytes", "longest packet sent", "payload"),
    ("forward_packet_length_min", "bytes", "shortest packet sent", "payload"),
    ("forward_packet_length_mean", "bytes", "mean length of packets sent", "payload"),
    ("forward_packet_length_std", "bytes", "spread of lengths of packets sent", "payload"),
    ("backward_packet_length_max", "bytes", "longest packet received", "payload"),
    ("backward_packet_length_min", "bytes", "shortest packet received", "payload"),
    ("backward_packet_length_mean", "bytes", "mean length of packets received", "payload"),
    ("backward_packet_length_std", "bytes", "spread of lengths of packets received", "payload"),
    ("flow_bytes_per_second", "bytes/s", "rate of bytes, both directions", "flow"),
    ("flow_packets_per_second", "packets/s", "rate of packets, both directions", "flow"),
    ("forward_packets_per_second", "packets/s", "rate of packets sent", "flow"),
    ("backward_packets_per_second", "packets/s", "rate of packets received", "flow"),
    ("download_upload_ratio", "1", "received over sent", "flow"),
    ("average_packet_size", "bytes", "mean packet size, both directions", "payload"),
    ("average_forward_segment_size", "bytes", "mean segment size sent", "payload"),
    ("average_backward_segment_size", "bytes", "mean segment size received", "payload"),
    ("flow_inter_arrival_time_mean", "us", "mean gap between packets", "time"),
    ("flow_inter_arrival_time_std", "us", "spread of gaps between packets", "time"),
    ("flow_inter_arrival_time_max", "us", "longest gap between packets", "time"),
    ("flow_inter_arrival_time_min", "us", "shortest gap between packets", "time"),
    ("forward_inter_arrival_time_total", "us", "sum of gaps between packets sent", "time"),
    ("forward_inter_arrival_time_mean", "us", "mean gap between packets sent", "time"),
    ("forward_inter_arrival_time_std", "us", "spread of gaps between packets sent", "time"),
    ("forward_inter_arrival_time_max", "us", "longest gap between packets sent", "time"),
    ("forward_inter_arrival_time_min", "us", "shortest gap between packets sent", "time"),
    ("backward_inter_arrival_time_total", "us", "sum of gaps between packets received", "time"),
    ("backward_inter_arrival_time_mean", "us", "mean gap between packets received", "time"),
    ("backward_inter_arrival_time_std", "us", "spread of gaps between packets received", "time"),
    ("backward_inter_arrival_time_max", "us", "longest gap between packets received", "time"),
    ("backward_inter_arrival_time_min", "us", "shortest gap between packets received", "time"),
    ("fin_flag_count", "packets", "packets with FIN", "flags"),
    ("syn_flag_count", "packets", "packets with SYN", "flags"),
    ("rst_flag_count", "packets", "packets with RST", "flags"),
    ("psh_flag_count", "packets", "packets with PSH", "flags"),
    ("ack_flag_count", "packets", "packets with ACK", "flags"),
    ("urg_flag_count", "packets", "packets with URG", "flags"),
    ("cwe_flag_count", "packets", "packets with CWR", "flags"),
    ("ece_flag_count", "packets", "packets with ECE", "flags"),
    ("forward_psh_flags", "packets", "packets sent with PSH", "flags"),
    ("backward_psh_flags", "packets", "packets received with PSH", "flags"),
    ("forward_urg_flags", "packets", "packets sent with URG", "flags"),
    ("backward_urg_flags", "packets", "packets received with URG", "flags"),
    ("forward_header_length", "bytes", "headers sent", "payload"),
    ("backward_header_length", "bytes", "headers received", "payload"),
    ("forward_average_bytes_bulk", "bytes", "mean bytes of a bulk sent", "payload"),
    ("forward_average_packets_bulk", "packets", "mean packets of a bulk sent", "payload"),
    ("forward_average_bulk_rate", "bytes/s", "mean rate of bulks sent", "payload"),
    ("backward_average_bytes_bulk", "bytes", "mean bytes of a bulk received", "payload"),
    ("backward_average_packets_bulk", "packets", "mean packets of a bulk received", "payload"),
    ("backward_average_bulk_rate", "bytes/s", "mean rate of bulks received", "payload"),
    ("minimum_packet_length", "bytes", "shortest packet, both directions", "payload"),
    ("maximum_packet_length", "bytes", "longest packet, both directions", "payload"),
    ("packet_length_mean", "bytes", "mean packet length, both directions", "payload"),
    ("packet_length_std", "bytes", "spread of packet lengths, both directions", "payload"),
    ("packet_length_variance", "bytes^2", "variance of packet lengths, both directions", "payload"),
    ("active_mean", "us", "mean time the flow was busy before it fell idle", "time"),
    ("idle_mean", "us", "mean time the flow was idle before it became busy", "time"),
)

_RANSOMWARE = (
    ("dns_query_entropy", "1", "randomness of the names asked for", "detectors"),
    ("new_external_ips_30s", "addresses", "outside addresses met for the first time in 30 s", "detectors"),
    ("dns_query_rate_per_min", "1/min", "names asked for", "detectors"),
    ("failed_dns_queries_ratio", "1", "share of names not found", "detectors"),
    ("tls_self_signed_cert_count", "count", "certificates signed by themselves", "detectors"),
    ("non_standard_port_http_count", "count", "HTTP on unusual ports", "detectors"),
    ("smb_connection_diversity", "count", "different SMB peers", "detectors"),
    ("rdp_failed_auth_count", "count", "failed RDP logins", "detectors"),
    ("new_internal_connections_30s", "count", "inside peers met for the first time in 30 s", "detectors"),
    ("port_scan_pattern_score", "1", "how much it looks like a port scan", "detectors"),
    ("upload_download_ratio_30s", "1", "sent over received in 30 s", "detectors"),
    ("burst_connections_count", "count", "connections in a burst", "detectors"),
    ("unique_destinations_30s", "addresses", "different destinations in 30 s", "detectors"),
    ("large_upload_sessions_count", "count", "large uploads", "detectors"),
    ("nocturnal_activity_flag", "0 or 1", "seen at night", "detectors"),
    ("connection_rate_stddev", "1/s", "spread of the connection rate", "detectors"),
    ("protocol_diversity_score", "1", "how many protocols are mixed", "detectors"),
    ("avg_flow_duration_seconds", "s", "mean duration of the host's flows", "detectors"),
    ("tcp_rst_ratio", "1", "share of connections reset", "detectors"),
    ("syn_without_ack_ratio", "1", "share of SYN never answered", "detectors"),
)

_DDOS = (
    ("syn_ack_ratio", "1", "SYN over ACK", "detectors"),
    ("packet_symmetry", "1", "balance of both directions", "detectors"),
    ("source_ip_dispersion", "1", "how widely sources are spread", "detectors"),
    ("protocol_anomaly_score", "1", "use of protocols against their rules", "detectors"),
    ("packet_size_entropy", "1", "variety of packet sizes", "detectors"),
    ("traffic_amplification_factor", "1", "answer over question, in bytes", "detectors"),
    ("flow_completion_rate", "1", "share of flows that end properly", "detectors"),
    ("geographical_concentration", "1", "how much comes from one place", "detectors"),
    ("traffic_escalation_rate", "1", "growth of traffic", "detectors"),
    ("resource_saturation_score", "1", "how full the target's resources are", "detectors"),
)

_RANSOMWARE_EMBEDDED = (
    ("io_intensity", "1", "rate of reading and writing", "detectors"),
    ("entropy", "1", "randomness of the data moved", "detectors"),
    ("resource_usage", "1", "load put on the host", "detectors"),
    ("network_activity", "1", "network use", "detectors"),
    ("file_operations", "1", "rate of file operations", "detectors"),
    ("process_anomaly", "1", "unusual processes", "detectors"),
    ("temporal_pattern", "1", "unusual hours or rhythm", "detectors"),
    ("access_frequency", "1", "rate of accesses", "detectors"),
    ("data_volume", "1", "volume moved", "detectors"),
    ("behavior_consistency", "1", "likeness to the host's usual behaviour", "detectors"),
)

_TRAFFIC = (
    ("packet_rate", "1", "rate of packets", "detectors"),
    ("connection_rate", "1", "rate of connections", "detectors"),
    ("tcp_udp_ratio", "1", "TCP over UDP", "detectors"),
    ("avg_packet_size", "1", "mean packet size", "detectors"),
    ("port_entropy", "1", "variety of ports", "detectors"),
    ("flow_duration_std", "1", "spread of flow durations", "detectors"),
    ("src_ip_entropy", "1", "variety of sources", "detectors"),
    ("dst_ip_concentration", "1", "how much goes to few destinations", "detectors"),
    ("protocol_variety", "1", "variety of protocols", "detectors"),
    ("temporal_consistency", "1", "steadiness over time", "detectors"),
)

_INTERNAL = (
    ("internal_connection_rate", "1", "rate of connections inside the network", "detectors"),
    ("service_port_consistency", "1", "steadiness of the services used", "detectors"),
    ("protocol_regularity", "1", "regular use of protocols", "detectors"),
    ("packet_size_consistency", "1", "steadiness of packet sizes", "detectors"),
    ("connection_duration_std", "1", "spread of connection durations", "detectors"),
    ("lateral_movement_score", "1", "how much it looks like moving from host to host", "detectors"),
    ("service_discovery_patterns", "1", "how much it looks like looking for services", "detectors"),
    ("data_exfiltration_indicators", "1", "how much it looks like data being carried out", "detectors"),
    ("temporal_anomaly_score", "1", "unusual hours", "detectors"),
    ("access_pattern_entropy", "1", "variety of what is accessed", "detectors"),
)

_SMB_SCAN = (
    ("rst_ratio", "1", "share of SMB connections reset", "detectors"),
    ("syn_ack_ratio", "1", "SYN over ACK on SMB", "detectors"),
    ("flow_duration_min_ms", "ms", "shortest SMB flow", "detectors"),
)

_VERDICT = (
    ("ml_analysis.level1_general_detection.confidence_score", "1", "first model's confidence", "detectors"),
    ("ml_analysis.attack_detected_level1", "0 or 1", "the first model sees an attack", "detectors"),
    ("ml_analysis.level1_confidence", "1", "confidence of the first level", "detectors"),
    (
        "ml_analysis.level2_context_classification.confidence_score",
        "1",
        "confidence in internet or inside traffic",
        "detectors",
    ),
    ("ml_analysis.ensemble_confidence", "1", "confidence of all models together", "detectors"),
    ("ml_analysis.requires_human_review", "0 or 1", "the models ask for a person", "detectors"),
    ("overall_threat_score", "1", "the sensor's final score", "detectors"),
    ("fast_detector_score", "1", "score of the fast detector", "detectors"),
    ("ml_detector_score", "1", "score of the ML detector", "detectors"),
    ("authoritative_source", "number", "which detector decided (enum DetectorSource)", "detectors"),
    ("fast_detector_triggered", "0 or 1", "the fast detector fired", "detectors"),
    ("decision_metadata.score_divergence", "1", "distance of the two scores", "detectors"),
    ("decision_metadata.requires_rag_analysis", "0 or 1", "the sensor asks for analysis", "detectors"),
    ("decision_metadata.confidence_level", "1", "confidence in the decision", "detectors"),
    ("provenance.discrepancy_score", "1", "distance of all engines that spoke", "detectors"),
)


def _build() -> tuple[Feature, ...]:
    groups = (
        ("network_features.", _FLOW),
        ("network_features.ransomware.", _RANSOMWARE),
        ("network_features.ddos_embedded.", _DDOS),
        ("network_features.ransomware_embedded.", _RANSOMWARE_EMBEDDED),
        ("network_features.traffic_classification.", _TRAFFIC),
        ("network_features.internal_anomaly.", _INTERNAL),
        ("network_features.smb_scan.", _SMB_SCAN),
        ("", _VERDICT),
    )
    rows = ((prefix + path, *rest) for prefix, group in groups for path, *rest in group)
    return tuple(starmap(Feature, rows))


def schema_hash(version: int, features: tuple[Feature, ...]) -> str:
    """Sha256 in hex over the version, then each path and unit in order, one line each."""
    lines = [f"version {version}", *(f"{feature.path} {feature.unit}" for feature in features)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


FEATURES: tuple[Feature, ...] = _build()
SCHEMA_HASH = schema_hash(SCHEMA_VERSION, FEATURES)
