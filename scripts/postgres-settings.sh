#!/bin/sh
# Prints pg_settings of one server, a line a setting: name|context|type|unit|min|max|values.
# src/core/postgresql/server-settings.ts is made from the output for the oldest and the newest supported major.
#   scripts/postgres-settings.sh /usr/lib/postgresql/18/bin        (not as root: PostgreSQL refuses)
set -eu
bin=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$bin/initdb" -D "$folder/data" -A trust >/dev/null
query="select name||'|'||context||'|'||vartype||'|'||coalesce(unit,'')||'|'||coalesce(min_val,'')||'|'||coalesce(max_val,'')||'|'||coalesce(array_to_string(enumvals,','),'') as t from pg_settings order by lower(name) collate \"C\""
printf '%s\n' "$query" | "$bin/postgres" --single -D "$folder/data" postgres 2>/dev/null |
  sed -n 's/^.* 1: t = "\(.*\)".(typeid.*$/\1/p'
