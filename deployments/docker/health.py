"""Exit code 0 where the service on a port of this container is ready, else 1 with what it says.

Usage: health.py PORT [PATH]    PATH is /ready unless given; /health asks only whether the process lives.
"""

import sys
import urllib.error
import urllib.request


def main() -> int:
    """Ask once."""
    if len(sys.argv) not in (2, 3) or not sys.argv[1].isdigit():
        sys.stderr.write("usage: health.py PORT [PATH]\n")
        return 2
    path = sys.argv[2] if len(sys.argv) == 3 else "/ready"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{int(sys.argv[1])}{path}", timeout=4):
            return 0
    except urllib.error.HTTPError as error:
        sys.stdout.write(error.read(2000).decode("utf-8", "replace") + "\n")
    except OSError as error:
        sys.stdout.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
