#!/usr/bin/env bash
# From an empty directory to a delivered, templated message, with nothing but curl: register, add a
# domain, publish its records, verify, make an app and a key, send, read logs and statistics, audit.
# The server is real; the outside is a name server and a mail server on loopback. Run it from the
# root of the repository. It ends with status 0, or at the first answer that is not the right one.
set -euo pipefail

LUMORA=${LUMORA:-cargo run --quiet --release --bin lumora --}
WORLD=${WORLD:-cargo run --quiet --release --example world --}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
fail() { printf 'walkthrough: %s\n' "$*" >&2; tail -n 20 "$work"/*.log >&2 || true; exit 1; }
# Waits up to two minutes for what is left of the line to succeed.
eventually() { for _ in $(seq 600); do "$@" && return; sleep 0.2; done; fail "in vain: $*"; }
# The first string of this name in the JSON on standard input.
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }
# Asks; the answer goes to $work/answer and the screen. Its status must be the first argument.
ask() {
  local want=$1 path=$2 got
  shift 2
  got=$(curl -sS -o "$work/answer" -w '%{http_code}' -b "$work/cookies" -c "$work/cookies" \
    -H 'content-type: application/json' "$@" "$base$path")
  printf '%s %s\n' "$got" "$path"
  cut -c 1-400 "$work/answer"; echo
  [ "$got" = "$want" ] || fail "$path answered $got, not $want"
}
holds() { grep -qF -- "$1" "$work/answer" || fail "no $1 in the answer"; }

say "The outside: a name server and a mail server"
$WORLD "$work/world" >"$work/world.out" 2>"$work/world.log" &
eventually grep -qs smtp_port "$work/world.out"
dns=$(sed -n 's/^dns=//p' "$work/world.out")
smtp_port=$(sed -n 's/^smtp_port=//p' "$work/world.out")

say "The server: an empty data directory and a few lines of configuration"
cat >"$work/lumora.toml" <<TOML
data_dir = "$work/data"
[http]
listen = "127.0.0.1:0"
[portal]
registration = "open"
[dns]
servers = ["$dns"]
[delivery]
smtp_port = $smtp_port
helo_name = "lumora.sandbox.test"
allow_private_networks = true
TOML
cat "$work/lumora.toml"
NO_COLOR=1 $LUMORA serve --config "$work/lumora.toml" >"$work/serve.log" 2>&1 &
server=$!
eventually grep -qs 'address=' "$work/serve.log"
base="http://$(grep -o 'address=[0-9.:]*' "$work/serve.log" | head -n 1 | cut -d = -f 2)"
ask 200 /readyz

say "Register: the session is a cookie"
ask 201 /portal/register \
  -d '{"tenantName":"Acme","email":"ann@acme.test","password":"seven green lanterns"}'
ask 200 /portal/me

say "A sending domain, and the records to publish"
ask 201 /portal/domains -d '{"domain":"mail.acme.test"}'
domain=$(field id <"$work/answer")
ask 200 "/portal/domains/$domain/verify" -X POST
holds '"status":"pending"'
grep -o '{[^{}]*"purpose":[^{}]*}' "$work/answer" | while read -r record; do
  printf '%s\t%s\t%s\n' "$(field type <<<"$record")" "$(field name <<<"$record")" \
    "$(field value <<<"$record")"
done | tee -a "$work/world/zone"

say "Verify asks the DNS"
verified() {
  ask 200 "/portal/domains/$domain/verify" -X POST
  [ "$(grep -o '"status":"verified"' "$work/answer" | wc -l)" = 6 ]
}
eventually verified

say "An app and a key; the secret is shown this once"
ask 201 /portal/apps \
  -d '{"name":"Shop","defaultSender":{"email":"hello@mail.acme.test","name":"Acme"}}'
app=$(field id <"$work/answer")
ask 201 "/portal/apps/$app/api-keys" -d '{"name":"production","rateLimitPerMinute":600,"scopes":{
  "email:send":true,"email:read":true,"template:read":true,"template:write":true,
  "suppression:read":true,"suppression:write":true}}'
key=$(field id <"$work/answer")
secret=$(field secret <"$work/answer")
api() { local want=$1 path=$2; shift 2; ask "$want" "$path" -H "x-api-key: $secret" "$@"; }

say "A template, looked at before it is used"
api 201 /v1/templates -d '{"slug":"welcome","name":"Welcome","subject":"Welcome, {{ user.name }}",
  "html":"<p>Hello {{ user.name }}, your code is <b>{{ code }}</b>.</p>"}'
template=$(field id <"$work/answer")
api 200 /v1/templates/welcome/preview -d '{"variables":{"user":{"name":"Ada <3"},"code":"4711"}}'
holds 'Ada &lt;3'
api 422 /v1/templates/welcome/preview -d '{"variables":{"user":{"name":"Ada"}}}'
holds template_render_failed

say "Send with it"
email='{"to":["Ada <ada@reader.test>"],"tags":["welcome"],
  "template":{"slug":"welcome","variables":{"user":{"name":"Ada"},"code":"4711"}}}'
api 202 /v1/email/send -H 'idempotency-key: welcome-1' -d "$email"
message=$(field messageId <"$work/answer")
api 202 /v1/email/send -H 'idempotency-key: welcome-1' -d "$email"
holds '"idempotentReplay":true'
delivered() { api 200 "/v1/messages/$message" && grep -q '"status":"delivered"' "$work/answer"; }
eventually delivered
eventually test -s "$work/world/mail/1.eml"
cat "$work/world/mail/1.eml"
grep -q '^Subject: Welcome, Ada' "$work/world/mail/1.eml" || fail "the subject is not the template's"
grep -q '^DKIM-Signature:' "$work/world/mail/1.eml" || fail "the message is not signed"

say "Somebody who wants no mail gets none, and the record says so"
api 201 /v1/suppressions -d '{"email":"gone@reader.test"}'
api 202 /v1/email/send -d '{"to":["gone@reader.test"],"subject":"Are you there?","text":"Hello?"}'

say "What happened: logs, statistics, audit"
logged() { api 200 '/v1/emails/logs?type=suppressed' && grep -q '"type":"suppressed"' "$work/answer"; }
eventually logged
counted() {
  api 200 '/v1/emails/stats?groupBy=template' && grep -qF "\"key\":\"$template\"" "$work/answer"
}
eventually counted
ask 200 '/portal/audit/events?type=message.delivered'
holds "$message"

say "A revoked key is dead at once, and so is a session after logout"
ask 204 "/portal/apps/$app/api-keys/$key" -X DELETE
api 401 /v1/emails/logs
ask 200 /portal/logout -X POST
ask 401 /portal/me

say "Stop the server and prove the log"
kill "$server"
wait "$server" || fail "the server did not stop well"
$LUMORA log verify --config "$work/lumora.toml"
[ "$(find "$work/world/mail" -name '*.eml' | wc -l)" = 1 ] || fail "one message was to be received"
say "All of it holds"
