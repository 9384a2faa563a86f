#!/bin/bash
# `dolma run` on Spark, on one machine or on a cluster:
#
#   pipelines/jobs/spark.sh [OPTIONS OF spark-submit --] [ARGUMENTS OF dolma run]
#
#   pipelines/jobs/spark.sh pool/unique                                       # local[*]
#   pipelines/jobs/spark.sh --master yarn --num-executors 40 --executor-cores 4 -- pipelines/pool --env /shared/env/cluster.yaml
#
# What a cluster needs:
# - One POSIX file system that every machine sees under the same path: the env's root and raw folder, this project and its environment.
#   Only records go through the driver; shards are written by the executors, and a rename must be atomic.
# - The same Python and packages everywhere. With the environment on the shared file system there is nothing to ship: PYSPARK_PYTHON names its interpreter.
#   Else ship it: pack it (venv-pack, conda-pack), add `--archives env.tar.gz#env`, and set PYSPARK_PYTHON=./env/bin/python and
#   PYSPARK_DRIVER_PYTHON=.venv/bin/python. A zip in --py-files does not do: the PDF recipes start a file of the package as a program of its own.
# - Deploy mode client (the default): the driver reads pipelines/ and writes plans and manifests.
# - Spark 4.1 or newer with Java 17 or newer. SPARK_HOME picks another Spark than that of the environment; its version must be that of pyspark there.
#
# The exit code is that of `dolma run`; the same command resumes.
set -euo pipefail
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

options=()
if [[ " $* " == *" -- "* ]]; then
  while [[ "$1" != "--" ]]; do
    options+=("$1")
    shift
  done
  shift
fi
[[ " ${options[*]-} " == *" --master"[\ =]* ]] || options+=(--master "local[*]")

export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$project/.venv/bin/python}"
export PYTHONPATH="$project${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONSAFEPATH=1 # the folder of the program, dolma/, must not be a place to import from: it has an `io` of its own
python="${PYSPARK_DRIVER_PYTHON:-$PYSPARK_PYTHON}"
submit="${SPARK_HOME:+$SPARK_HOME/bin/spark-submit}"
submit="${submit:-$(dirname "$python")/spark-submit}"

cd "$project"
exec "$submit" --name dolma --conf spark.executorEnv.PYTHONPATH="$PYTHONPATH" --conf spark.log.level=ERROR --conf spark.ui.showConsoleProgress=false \
  "${options[@]}" "$project/dolma/cli.py" run --env spark "$@"
