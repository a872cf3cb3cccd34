"""Producer and consumer from the API reference, with polars.

    python producer_consumer.py consume market_data     # in one terminal, or in several
    python producer_consumer.py produce market_data [TABLES [SECONDS_BETWEEN]]     # in another
"""

from __future__ import annotations

import random
import sys
import time

import polars as pl

import qadataswap


def produce(name: str, count: int, pause_s: float) -> None:
    chance = random.Random(1)
    # Ten slots: how many tables a consumer may be behind before it loses some. Leaving the block ends the ring.
    with qadataswap.create_writer(name, 10) as writer:
        price = 100.0
        for number in range(count):
            steps = [chance.gauss(0, 0.05) for _ in range(100)]
            prices = [price := price + step for step in steps]
            frame = pl.DataFrame({"batch": number, "price": prices, "volume": [chance.randrange(1, 500) for _ in prices]})
            writer.write_arrow(frame)
            time.sleep(pause_s)
        print(f"published {writer.stats.published} tables")


def consume(name: str) -> None:
    # Waits up to ten seconds for the producer.
    with qadataswap.create_reader(name, attach_timeout_ms=10_000) as reader:
        for batches in reader.batches():  # until the producer ends the ring; needs no pyarrow
            frame = pl.DataFrame(batches)
            traded = frame.select(
                pl.col("batch").first(),
                vwap=(pl.col("price") * pl.col("volume")).sum() / pl.col("volume").sum(),
                volume=pl.col("volume").sum(),
            )
            print(*traded.row(0))
        print(f"consumed {reader.stats.consumed} tables, lost {reader.stats.lost}")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("produce", "consume"):
        sys.exit(__doc__)
    if sys.argv[1] == "consume":
        consume(sys.argv[2])
    else:
        count, pause_s = [*sys.argv[3:], *("100", "0.1")[len(sys.argv) - 3 :]][:2]
        produce(sys.argv[2], int(count), float(pause_s))
