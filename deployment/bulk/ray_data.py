"""Scores a table through a fleet with Ray Data. After an interruption, the same command goes
on with the rows that have no score yet."""

from __future__ import annotations

import argparse

import ray
from pyarrow import Table
from ray.data import DataContext, TaskPoolStrategy
from ray.data.checkpoint import CheckpointConfig
from scoring import with_scores


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("table", help="Parquet files, such as s3://bucket/reviews")
    options.add_argument("output", help="where the scores go, as Parquet files")
    options.add_argument("checkpoint", help="remembers which rows have been scored")
    options.add_argument("--url", action="append", required=True)
    options.add_argument("--id", default="id", help="a column that is unique")
    options.add_argument("--text", default="text", help="the column to score")
    options.add_argument("--tasks", type=int, default=8, help="requests at a time")
    options.add_argument("--rows", type=int, default=10_000, help="rows in a part")
    chosen = options.parse_args()

    # A part counts as scored when its output has been written. That is remembered after the
    # end as well, so that the same command scores only rows that are new.
    DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column=chosen.id,
        checkpoint_path=chosen.checkpoint,
        delete_checkpoint_on_success=False,
    )

    def scored(rows: Table) -> Table:
        return with_scores(rows, chosen.text, chosen.url)

    (
        ray.data.read_parquet(chosen.table)
        .select_columns([chosen.id, chosen.text])
        .repartition(target_num_rows_per_block=chosen.rows)
        .map_batches(
            scored,
            batch_size=None,
            batch_format="pyarrow",
            compute=TaskPoolStrategy(chosen.tasks),
            # A task waits for the fleet, and needs little of a core.
            num_cpus=0.1,
        )
        .write_parquet(chosen.output)
    )


if __name__ == "__main__":
    main()
