"""More of the replay than CI has time for: ``python tests/proofs/replay_more.py SEED STATES``.

Random sequences from SEED on, until STATES unique states have been judged. Ends with 1 at the first
bad one, which is told. ``replay.sequences.run`` does the same for a script.
"""

from __future__ import annotations

import sys

from replay.sequences import run


def main() -> int:
    counts = run(int(sys.argv[1]), int(sys.argv[2]), lambda line: print(line, flush=True))
    print(f"{counts.states} states, {counts.checks} checks, {counts.moments} moments, {len(counts.bad)} bad")
    print("\n".join(counts.bad))
    return 1 if counts.bad else 0


if __name__ == "__main__":
    sys.exit(main())
