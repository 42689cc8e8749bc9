#!/bin/sh
# A shell script that reports itself: a bar, a rate, what it is at, items, and what it has to say.
#
#     taskmeter run -- sh examples/report.sh /usr/share/doc
#
# Outside a task `taskmeter report` does nothing and succeeds, so the script runs alike without us.
set -eu
directory=${1:-.}
set -- "$directory"/*
taskmeter report --total $# --status "counting lines"
for file in "$@"; do
  if [ -f "$file" ] && lines=$(wc -l < "$file"); then
    taskmeter report --add --object "$file" --size "$(wc -c < "$file")" --count "lines=$lines"
    echo "$lines $file"
  else
    taskmeter report --fail --object "$file" --item "$file" --item-status skipped --warning "$file is not a file"
  fi
done
taskmeter report --status "done" --message "counted $# names in $directory"
