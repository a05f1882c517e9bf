"""Scores a table through a fleet with PySpark. After an interruption, the same command goes
on with the files that have no scores yet."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pyarrow import RecordBatch, Table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StringType, StructType
from scoring import with_scores


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("table", help="Parquet files, such as s3a://bucket/reviews")
    options.add_argument("output", help="where the scores go, as Parquet files")
    options.add_argument("--url", action="append", required=True)
    options.add_argument("--id", default="id", help="a column that is unique")
    options.add_argument("--text", default="text", help="the column to score")
    options.add_argument("--tasks", type=int, default=8, help="requests at a time")
    options.add_argument("--files", type=int, default=1, help="files in a batch")
    chosen = options.parse_args()

    spark = SparkSession.builder.appName("fastsentiment").getOrCreate()
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("scoring.py")))
    schema = spark.read.parquet(chosen.table).select(chosen.id, chosen.text).schema
    written = StructType([schema[chosen.id]])
    written.add("label", StringType()).add("score", DoubleType())
    written.add("error", StringType())

    def scored(batches: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
        for batch in batches:
            rows = Table.from_batches([batch])
            yield from with_scores(rows, chosen.text, chosen.url).to_batches()

    def write(rows: DataFrame, number: int) -> None:
        # A batch that was interrupted gets the same files and number again, and replaces
        # what it had written.
        place = f"{chosen.output}/batch={number}"
        parts = rows.repartition(chosen.tasks)
        parts.mapInArrow(scored, written).write.mode("overwrite").parquet(place)
        count = spark.read.parquet(place).count()
        print(f"batch {number}: {count} rows scored", flush=True)

    # As a stream, Spark remembers which files it has done.
    (
        spark.readStream.schema(schema)
        .option("maxFilesPerTrigger", chosen.files)
        # Otherwise it leaves out files that are a week older than others.
        .option("maxFileAge", "36500d")
        .parquet(chosen.table)
        .writeStream.foreachBatch(write)
        .option("checkpointLocation", f"{chosen.output}/_checkpoint")
        .trigger(availableNow=True)
        .start()
        .awaitTermination()
    )


if __name__ == "__main__":
    main()
