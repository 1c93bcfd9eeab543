# Begins the study, or goes on with it where an earlier start left it.
study=@{study}
for _ in {1..12}; do  # a driver that was lost with its node holds the study for a minute
    [ -n "$(find "$study/driver.lock" -mmin -1 2>/dev/null)" ] || break
    sleep 5
done
resume=()
read -r 2>/dev/null < "$study/ledger.jsonl" && resume=(--resume)  # its first line is whole
exec @{command} "${resume[@]}"
