"""Every Prometheus metric of the product, in one list.

Names start with `attain_` and end with their unit (counters get `_total` from the client). Labels are few and
bounded: never a tenant, a person, a deal or a delivery. A process exposes all of them at `/metrics`; those it never
touches stay empty.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_END_TO_END_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
_REBUILD_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)

# HTTP, every API process. `route` is the path template ("/v1/goals/{goal_id}"), "unmatched" when none was found.
HTTP_REQUESTS: Final = Counter(
    "attain_http_requests", "Requests answered, by the status sent.", ("method", "route", "status")
)
HTTP_REQUEST_SECONDS: Final = Histogram(
    "attain_http_request_seconds",
    "From the first byte of the request's head to the last byte of the answer; event streams are left out.",
    ("method", "route"),
    buckets=_REQUEST_SECONDS,
)
HTTP_CONNECTIONS_OPEN: Final = Gauge("attain_http_connections_open", "Connections of clients.")
HTTP_CONNECTIONS_REFUSED: Final = Counter(
    "attain_http_connections_refused",
    "Connections and unfinished requests that were given up, by the limit they met.",
    ("reason",),
)
HTTP_REFUSALS_DELAYED: Final = Counter(
    "attain_http_refusals_delayed", "Refusals that waited because there were many: of unknown callers and paths."
)
HTTP_IDEMPOTENT_REPLAYS: Final = Counter(
    "attain_http_idempotent_replays", "Answers repeated from a stored one for a known Idempotency-Key."
)

# Outbox, every process that runs a relay.
OUTBOX_ROWS: Final = Gauge(
    "attain_outbox_rows", "Messages and marks waiting to be published, at the last pass.", ("service", "form")
)
OUTBOX_LAG_SECONDS: Final = Gauge(
    "attain_outbox_lag_seconds", "Age of the oldest waiting message, at the last pass.", ("service",)
)
OUTBOX_PUBLISHED: Final = Counter("attain_outbox_published", "Messages the broker acknowledged.", ("service", "topic"))
OUTBOX_PUBLISH_FAILURES: Final = Counter(
    "attain_outbox_publish_failures", "Messages the broker refused or did not acknowledge.", ("service", "topic")
)
OUTBOX_PASS_SECONDS: Final = Histogram(
    "attain_outbox_pass_seconds",
    "One pass of the relay: read, publish, delete.",
    ("service",),
    buckets=_BATCH_SECONDS,
)
OUTBOX_RELAY_ACTIVE: Final = Gauge(
    "attain_outbox_relay_active", "1 while this process is its service's active relay.", ("service",)
)

# Consumers, every worker.
CONSUMER_LAG_RECORDS: Final = Gauge(
    "attain_consumer_lag_records",
    "Records between the stored position and the end of the log.",
    ("group", "topic", "partition"),
)
CONSUMER_RECORDS: Final = Counter("attain_consumer_records", "Records applied.", ("group", "topic"))
CONSUMER_BATCH_SECONDS: Final = Histogram(
    "attain_consumer_batch_seconds",
    "One batch from hand-over to commit.",
    ("group",),
    buckets=_BATCH_SECONDS,
)
CONSUMER_BATCH_RECORDS: Final = Histogram(
    "attain_consumer_batch_records", "Records in one batch.", ("group",), buckets=_BATCH_SIZES
)
CONSUMER_QUARANTINED: Final = Counter(
    "attain_consumer_quarantined", "Records sent to the topic's .dlq.", ("group", "topic", "reason")
)
CONSUMER_WAITING: Final = Gauge(
    "attain_consumer_waiting", "1 while a batch waits for longer than a moment and nothing is applied.", ("group",)
)
CONSUMER_BATCHES_LOST: Final = Counter(
    "attain_consumer_batches_lost",
    "Batches rolled back because another consumer had moved the position.",
    ("group",),
)
CONSUMER_REBALANCES: Final = Counter("attain_consumer_rebalances", "Assignments received.", ("group",))

# Rounds of work, every process. `round` is the name of the component.
ROUND_FAILURES: Final = Counter("attain_round_failures", "Rounds that failed and came again.", ("round",))
ROUNDS_FAILING: Final = Gauge("attain_rounds_failing", "Rounds of it that have failed in a row.", ("round",))
LOG_LINES_LOST: Final = Counter("attain_log_lines_lost", "Log lines that could not be written.")

# Webhooks, tracking. `source` is the kind of CRM connection.
WEBHOOK_RECEIVED: Final = Counter("attain_webhook_received", "Deliveries stored.", ("source",))
WEBHOOK_DUPLICATES: Final = Counter("attain_webhook_duplicates", "Deliveries already stored.", ("source",))
WEBHOOK_REJECTED: Final = Counter("attain_webhook_rejected", "Deliveries refused before storage.", ("source", "reason"))
WEBHOOK_QUARANTINED: Final = Counter(
    "attain_webhook_quarantined", "Deliveries that could not be translated.", ("source", "reason")
)
WEBHOOK_GROUP_COMMIT_DELIVERIES: Final = Histogram(
    "attain_webhook_group_commit_deliveries", "Deliveries stored by one commit.", buckets=_BATCH_SIZES
)
WEBHOOK_TO_PROGRESS_SECONDS: Final = Histogram(
    "attain_webhook_to_progress_seconds",
    "From the delivery being accepted to the commit that moved its goals.",
    buckets=_END_TO_END_SECONDS,
)

# Calls to sources' APIs, tracking. `verdict` is what the answer was found to mean, "transient" also for none.
SOURCE_CALLS: Final = Counter("attain_source_calls", "Calls made to sources.", ("source", "verdict"))
SOURCE_CALL_SECONDS: Final = Histogram(
    "attain_source_call_seconds", "One call to a source, as a whole.", ("source",), buckets=_REQUEST_SECONDS
)
SOURCE_WAIT_SECONDS: Final = Histogram(
    "attain_source_wait_seconds",
    "From wanting to call a source to being allowed to, by its limits.",
    ("source",),
    buckets=_END_TO_END_SECONDS,
)
SOURCE_CIRCUITS_OPENED: Final = Counter(
    "attain_source_circuits_opened", "Times a connection's source was no longer called for a while.", ("source",)
)
SOURCE_TOKENS: Final = Counter("attain_source_tokens", "Tokens obtained from sources.", ("source",))
SYNC_RECORDS: Final = Counter(
    "attain_sync_records",
    "Records and deletions that sources gave, by why they were requested and what they turned out to be.",
    ("source", "origin", "finding"),
)

# Alerts, tracking. `effect`: raised, changed or cleared.
ALERTS_PUBLISHED: Final = Counter(
    "attain_alerts_published", "Versions of alerts that were published.", ("effect", "severity")
)

# Progress and live streams, tracking.
PROGRESS_REBUILD_SECONDS: Final = Histogram(
    "attain_progress_rebuild_seconds",
    "One chunk of stale goals rebuilt from the stored deals.",
    buckets=_REBUILD_SECONDS,
)
PROGRESS_STALE_GOALS: Final = Gauge("attain_progress_stale_goals", "Goals waiting to be rebuilt, at the last look.")
LIVE_STREAMS_OPEN: Final = Gauge("attain_live_streams_open", "Event streams being served.")
LIVE_STREAMS_DROPPED: Final = Counter(
    "attain_live_streams_dropped", "Event streams ended because the client read too slowly."
)

# Outgoing webhooks, tracking. `outcome` of an attempt is the class of the status ("2xx"), or "no_answer".
OUTGOING_RECORDED: Final = Counter(
    "attain_outgoing_recorded",
    "Events recorded for subscribers: as a new delivery, as the newer body of one nobody has seen, or superseding one.",
    ("effect",),
)
OUTGOING_ATTEMPTS: Final = Counter("attain_outgoing_attempts", "Requests made to subscribers.", ("outcome",))
OUTGOING_ATTEMPT_SECONDS: Final = Histogram(
    "attain_outgoing_attempt_seconds", "One request to a subscriber, as a whole.", buckets=_REQUEST_SECONDS
)
OUTGOING_WAIT_SECONDS: Final = Histogram(
    "attain_outgoing_wait_seconds",
    "From the event to the first attempt of its delivery.",
    buckets=_END_TO_END_SECONDS,
)
OUTGOING_DISABLED: Final = Counter(
    "attain_outgoing_disabled", "Subscriptions taken out of service: their endpoint is gone, or failing.", ("reason",)
)

# Incentives.
EARNINGS_REBUILD_SECONDS: Final = Histogram(
    "attain_earnings_rebuild_seconds",
    "One chunk of stale cells earned again from the stored credits.",
    buckets=_REBUILD_SECONDS,
)
LEDGER_ENTRIES: Final = Counter("attain_ledger_entries", "Entries posted to the ledger.", ("kind",))
