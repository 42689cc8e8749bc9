#!/bin/sh
# A shell pipeline: five processes for one task, metered and stopped as one tree.
#
#     taskmeter run -- sh examples/pipeline.sh 300000
#
set -eu
count=${1:-300000}
echo "counting the digits of the numbers to $count"
seq 1 "$count" | fold -w 1 | sort | uniq -c | awk '{ print "digit " $2 ": " $1 }'
echo "done" >&2
