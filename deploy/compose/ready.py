#!/usr/bin/env python3
"""`appia-ready PORT`: whether the service that shows itself on this port of loopback is ready; prints why it is not.

The health check of a container. Its exit status is 0, or 1 as Docker wants it. The standard library alone, since it
runs every few seconds.
"""

import http.client
import sys

PATIENCE_S = 4


def main() -> int:
    """Ask /readyz of the port in the first argument."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=PATIENCE_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        sys.stdout.write(answer.read().decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"Nothing answers: {error}\n")
        return 1
    finally:
        connection.close()
    return int(answer.status != http.client.OK)


if __name__ == "__main__":
    sys.exit(main())
