"""CICFlowMeter: the columns of its dialects and the contract fields they fill.

Names are as `table.plain` gives them. Three families are in use: the data sets of 2017 ("Total Fwd Packets"),
those of 2018 and the Python rewrite ("Tot Fwd Pkts", tot_fwd_pkts), and later versions of the Java program
("Total Fwd Packet"). Lengths are bytes of payload. Sources: the headers that these programs write.
"""

from __future__ import annotations

from services.feed.readers.table import Column, Kind

MICROS = "microseconds"


def _u32(field: str, *names: str) -> Column:
    return Column(names, (field,), Kind.U32, "packets")


def _u64(field: str, unit: str, *names: str) -> Column:
    return Column(names, (field,), Kind.U64, unit)


def _f64(field: str, unit: str, *names: str) -> Column:
    return Column(names, (field,), Kind.F64, unit)


def _micros(field: str, kind: Kind, *names: str) -> Column:
    return Column(names, (field,), kind, MICROS, scaled=True)


def _lengths(direction: str, short: str) -> list[Column]:
    """Give the columns of one direction's packet lengths."""
    field = f"{direction}_packet_length"
    return [
        _u64(f"{field}_max", "bytes", f"{short}_packet_length_max", f"{short}_pkt_len_max"),
        _u64(f"{field}_min", "bytes", f"{short}_packet_length_min", f"{short}_pkt_len_min"),
        _f64(f"{field}_mean", "bytes", f"{short}_packet_length_mean", f"{short}_pkt_len_mean"),
        _f64(f"{field}_std", "bytes", f"{short}_packet_length_std", f"{short}_pkt_len_std"),
    ]


def _inter_arrival(direction: str, short: str) -> list[Column]:
    """Give the columns of the time between packets, of one direction or the whole flow."""
    field, name = f"{direction}_inter_arrival_time", f"{short}_iat"
    return [
        _micros(f"{field}_mean", Kind.F64, f"{name}_mean"),
        _micros(f"{field}_std", Kind.F64, f"{name}_std"),
        _micros(f"{field}_max", Kind.U64, f"{name}_max"),
        _micros(f"{field}_min", Kind.U64, f"{name}_min"),
    ]


def _flags() -> list[Column]:
    """Give the columns that count packets by TCP flag."""
    return [
        *(_u32(f"{f}_flag_count", f"{f}_flag_count", f"{f}_flag_cnt") for f in ("fin", "syn", "rst", "psh")),
        *(_u32(f"{f}_flag_count", f"{f}_flag_count", f"{f}_flag_cnt") for f in ("ack", "urg", "ece")),
        _u32("cwe_flag_count", "cwr_flag_count", "cwe_flag_count", "cwr_flag_cnt", "cwe_flag_cnt"),
        _u32("forward_psh_flags", "fwd_psh_flags"),
        _u32("backward_psh_flags", "bwd_psh_flags"),
        _u32("forward_urg_flags", "fwd_urg_flags"),
        _u32("backward_urg_flags", "bwd_urg_flags"),
    ]


def _bulk(direction: str, short: str) -> list[Column]:
    """Give the columns of one direction's bulk transfers."""
    field = f"{direction}_average"
    bytes_names = (f"{short}_bytes_bulk_avg", f"{short}_avg_bytes_bulk", f"{short}_byts_b_avg")
    packet_names = (f"{short}_packet_bulk_avg", f"{short}_avg_packets_bulk", f"{short}_pkts_b_avg")
    rate_names = (f"{short}_bulk_rate_avg", f"{short}_avg_bulk_rate", f"{short}_blk_rate_avg")
    return [
        _f64(f"{field}_bytes_bulk", "bytes", *bytes_names),
        _f64(f"{field}_packets_bulk", "packets", *packet_names),
        _f64(f"{field}_bulk_rate", "bytes per second", *rate_names),
    ]


COLUMNS: tuple[Column, ...] = (
    Column(("src_ip", "source_ip"), ("source_ip",), Kind.ADDRESS),
    Column(("dst_ip", "destination_ip"), ("destination_ip",), Kind.ADDRESS),
    Column(("src_ip_dec",), ("source_ip",), Kind.NUMBER_ADDRESS),
    Column(("dst_ip_dec",), ("destination_ip",), Kind.NUMBER_ADDRESS),
    Column(("src_port", "source_port"), ("source_port",), Kind.U32),
    Column(("dst_port", "destination_port"), ("destination_port",), Kind.U32),
    Column(("protocol",), ("protocol_number", "protocol_name"), Kind.PROTOCOL),
    Column(("timestamp",), ("flow_start_time",), Kind.START),
    Column(
        ("flow_duration",),
        ("flow_duration", "flow_duration_microseconds"),
        Kind.DURATION,
        MICROS,
        scaled=True,
    ),
    _u64("total_forward_packets", "packets", "total_fwd_packet", "total_fwd_packets", "tot_fwd_pkts"),
    _u64("total_backward_packets", "packets", "total_bwd_packets", "total_backward_packets", "tot_bwd_pkts"),
    _u64(
        "total_forward_bytes",
        "bytes",
        *("total_length_of_fwd_packet", "total_length_of_fwd_packets", "totlen_fwd_pkts"),
    ),
    _u64(
        "total_backward_bytes",
        "bytes",
        *("total_length_of_bwd_packet", "total_length_of_bwd_packets", "totlen_bwd_pkts"),
    ),
    *_lengths("forward", "fwd"),
    *_lengths("backward", "bwd"),
    _f64("flow_bytes_per_second", "bytes per second", "flow_bytes_s", "flow_byts_s"),
    _f64("flow_packets_per_second", "packets per second", "flow_packets_s", "flow_pkts_s"),
    _f64("forward_packets_per_second", "packets per second", "fwd_packets_s", "fwd_pkts_s"),
    _f64("backward_packets_per_second", "packets per second", "bwd_packets_s", "bwd_pkts_s"),
    _f64("download_upload_ratio", "", "down_up_ratio"),
    _f64("average_packet_size", "bytes", "average_packet_size", "pkt_size_avg"),
    _f64(
        "average_forward_segment_size",
        "bytes",
        "fwd_segment_size_avg",
        "avg_fwd_segment_size",
        "fwd_seg_size_avg",
    ),
    _f64(
        "average_backward_segment_size",
        "bytes",
        "bwd_segment_size_avg",
        "avg_bwd_segment_size",
        "bwd_seg_size_avg",
    ),
    *_inter_arrival("flow", "flow"),
    _micros("forward_inter_arrival_time_total", Kind.F64, "fwd_iat_total", "fwd_iat_tot"),
    *_inter_arrival("forward", "fwd"),
    _micros("backward_inter_arrival_time_total", Kind.F64, "bwd_iat_total", "bwd_iat_tot"),
    *_inter_arrival("backward", "bwd"),
    *_flags(),
    _f64("forward_header_length", "bytes", "fwd_header_length", "fwd_header_len"),
    _f64("backward_header_length", "bytes", "bwd_header_length", "bwd_header_len"),
    *_bulk("forward", "fwd"),
    *_bulk("backward", "bwd"),
    _u64("minimum_packet_length", "bytes", "packet_length_min", "min_packet_length", "pkt_len_min"),
    _u64("maximum_packet_length", "bytes", "packet_length_max", "max_packet_length", "pkt_len_max"),
    _f64("packet_length_mean", "bytes", "packet_length_mean", "pkt_len_mean"),
    _f64("packet_length_std", "bytes", "packet_length_std", "pkt_len_std"),
    _f64("packet_length_variance", "bytes squared", "packet_length_variance", "pkt_len_var"),
    _micros("active_mean", Kind.F64, "active_mean"),
    _micros("idle_mean", Kind.F64, "idle_mean"),
    Column(("label",), ("final_classification", "threat_category"), Kind.LABEL),
)
