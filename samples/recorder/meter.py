"""Turn a capture into flows with cicflowmeter: `PYTHON_WITH_CICFLOWMETER meter.py PCAP CSV`.

The package's own output, but for one thing: its time stamps are whole seconds in the machine's time zone,
and here they are UTC with microseconds, as the Java CICFlowMeter of the corrected CICIDS2017 writes them.
"""

import sys
from datetime import UTC, datetime

from cicflowmeter.features.packet_time import PacketTime
from cicflowmeter.sniffer import create_sniffer


def first_packet_utc(self: PacketTime) -> str:
    """Time of the flow's first packet, UTC."""
    seconds = float(self.flow.packets[0][0].time)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


if __name__ == "__main__":
    PacketTime.get_timestamp = first_packet_utc
    sniffer = create_sniffer(sys.argv[1], None, "csv", sys.argv[2])
    sniffer.start()
    sniffer.join()
