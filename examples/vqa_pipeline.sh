#!/bin/sh
# Ask about every picture of a folder, and count the answers: JSON lines through jq, no web.
#
#     examples/vqa_pipeline.sh examples/pictures "What colour is it?" red,blue,green
set -eu
liquid ask "$1" "$2" --choices "$3" --jsonl --quiet |
    tee answers.jsonl |
    jq -r .answer | sort | uniq -c | sort -k1,1nr -k2 | awk '{ print $1 "\t" $2 }'
