-- Schema version 1. Units are the last word of a column's name. A column
-- marked "null until built" has its place and its meaning now, and no figure
-- stands in for it before something fills it. docs/records.md explains all.

CREATE TABLE meta (
    name    TEXT PRIMARY KEY, -- controller_id, controller_epoch, session_epoch, record_floor
    value   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    name                TEXT PRIMARY KEY,
    labels_json         TEXT NOT NULL,
    public_key          BLOB NOT NULL,    -- Ed25519; the first key proven owns the name
    generation          INTEGER NOT NULL, -- counter of starts in its data directory
    boot                TEXT NOT NULL,    -- its newest start, 32 hexadecimal digits
    inventory           BLOB NOT NULL,    -- protobuf weir.types.v1.Inventory
    first_seen_unix_ns  INTEGER NOT NULL,
    last_seen_unix_ns   INTEGER NOT NULL,
    snapshot_version    INTEGER NOT NULL DEFAULT 0 -- of the desired state drawn last
) STRICT;

-- Tokens that hosts enrol with. Their secrets are not here.
CREATE TABLE tokens (
    id              TEXT PRIMARY KEY, -- 16 hexadecimal digits
    secret_sha256   BLOB NOT NULL,
    uses_left       INTEGER NOT NULL,
    expires_unix_s  INTEGER NOT NULL, -- last instant of its life
    name_pattern    TEXT NOT NULL,    -- with * and ?; empty = any name
    revoked_unix_s  INTEGER           -- when it was taken back
) STRICT;

-- What tokens were used for: one row for each use.
CREATE TABLE enrolments (
    token           TEXT NOT NULL,    -- its id
    name            TEXT NOT NULL,    -- of the agent
    public_key      BLOB NOT NULL,    -- Ed25519; as that of agents it owns the name
    certificates    INTEGER NOT NULL, -- how many it was given for this use
    PRIMARY KEY (token, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolments_by_name ON enrolments (name);

-- Certificates that agents were given.
CREATE TABLE certificates (
    serial              TEXT PRIMARY KEY, -- hexadecimal
    name                TEXT NOT NULL,    -- of the agent
    not_after_unix_s    INTEGER NOT NULL  -- last instant of its life
) STRICT;

-- The deny list: who is let in no more.
CREATE TABLE denials (
    subject         TEXT PRIMARY KEY, -- NAME of an agent, operator:NAME, viewer:NAME or serial:HEX
    reason          TEXT NOT NULL,
    denied_by       TEXT NOT NULL,
    since_unix_ns   INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
    run                 INTEGER PRIMARY KEY AUTOINCREMENT, -- 7 is printed r-0007; never used again
    campaign            TEXT NOT NULL,
    state               TEXT NOT NULL,    -- created, queued, preparing, started, stopping, closed, deleting
    verdict             TEXT,             -- pass, fail, partial, invalid
    created_unix_ns     INTEGER NOT NULL,
    t0_unix_ns          INTEGER,          -- T0 by the controller's wall clock
    t0_mono_ns          INTEGER,          -- T0 by the controller's host-monotonic clock
    t0_kernel_boot_id   TEXT,             -- kernel of that clock
    end_ns              INTEGER NOT NULL DEFAULT 0, -- latest planned end from T0
    closed_unix_ns      INTEGER,
    interval_ns         INTEGER NOT NULL,
    linger_ns           INTEGER NOT NULL,
    nonce               INTEGER NOT NULL, -- 64 bits, read as signed
    seed                INTEGER NOT NULL, -- 64 bits, read as signed
    campaign_toml       TEXT NOT NULL,
    campaign_file       TEXT NOT NULL,
    campaign_argv_json  TEXT NOT NULL,
    plan_json           TEXT,
    stop_reason         TEXT,
    result_json         TEXT,             -- weir.result/1
    first_record        INTEGER NOT NULL, -- no row of the run has a lower records.record
    indexed             INTEGER NOT NULL DEFAULT 0, -- 1 = record_index holds all its rows
    records             INTEGER           -- rows in record_index, once indexed
) STRICT;

CREATE TABLE phases (
    run         INTEGER NOT NULL,
    position    INTEGER NOT NULL, -- order within the run, from 0
    name        TEXT NOT NULL,
    repeat      INTEGER NOT NULL,
    start_ns    INTEGER NOT NULL, -- from T0
    length_ns   INTEGER NOT NULL,
    warmup_ns   INTEGER NOT NULL,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE flows (
    flow                INTEGER PRIMARY KEY AUTOINCREMENT, -- over all runs: records.flow
    run                 INTEGER NOT NULL,
    number              INTEGER NOT NULL, -- within the run: what is printed as `flow`
    session             INTEGER NOT NULL,
    set_name            TEXT NOT NULL,
    phase               TEXT NOT NULL,
    repeat              INTEGER NOT NULL,
    cell_json           TEXT NOT NULL,    -- matrix variables; {} until built
    round               INTEGER,          -- of a mesh; null until built
    key                 TEXT NOT NULL,    -- phase/set/from>to
    from_name           TEXT NOT NULL,    -- agent, or address
    from_agent          INTEGER NOT NULL, -- 1 = an agent
    from_asn            TEXT,             -- its label asn
    to_name             TEXT NOT NULL,
    to_agent            INTEGER NOT NULL,
    to_asn              TEXT,
    transport           TEXT NOT NULL,    -- tcp, udp
    reverse_of          INTEGER,          -- number of the flow of the opposite direction
    streams             INTEGER NOT NULL,
    offered_bps         INTEGER,          -- payload asked for; null = unlimited
    offered_milli_pps   INTEGER,          -- thousandths of a packet per second asked for
    size_bytes          INTEGER NOT NULL, -- UDP payload, or TCP write (0 = adaptive)
    start_ns            INTEGER NOT NULL, -- from T0
    length_ns           INTEGER NOT NULL,
    warmup_ns           INTEGER NOT NULL,
    planned_rows        INTEGER NOT NULL  -- of each end
) STRICT;
CREATE UNIQUE INDEX flows_run ON flows (run, number);

CREATE TABLE assignments (
    run         INTEGER NOT NULL,
    agent       TEXT NOT NULL,
    assignment  BLOB NOT NULL,    -- protobuf weir.types.v1.Assignment
    state       TEXT NOT NULL,    -- planned, accepted, prepared, armed, running, finished, stopped, aborted, refused
    reason      TEXT NOT NULL DEFAULT '',
    late_by_ns  INTEGER NOT NULL DEFAULT 0, -- how late the start order came after T0
    PRIMARY KEY (run, agent)
) STRICT;

CREATE TABLE sessions (
    run         INTEGER NOT NULL,
    session     INTEGER NOT NULL,
    end         TEXT NOT NULL,    -- tx, rx
    state       TEXT NOT NULL,    -- listening, ready, failed
    port        INTEGER,          -- of the end that listens
    link        INTEGER,          -- 1 = the flow link is up
    tuples_json TEXT,             -- source>destination of each stream
    code        TEXT,             -- of a failure, such as unreachable
    reason      TEXT,
    PRIMARY KEY (run, session, end)
) STRICT, WITHOUT ROWID;

-- The guard against loss and duplicates: changes in the transaction that
-- stores the rows. So the record tables need no unique index.
CREATE TABLE watermarks (
    agent       TEXT NOT NULL,
    boot        TEXT NOT NULL,
    acked_seq   INTEGER NOT NULL, -- everything up to it is stored
    PRIMARY KEY (agent, boot)
) STRICT, WITHOUT ROWID;

-- One row = one flow, one end, one interval. The narrow core.
CREATE TABLE records (
    record              INTEGER PRIMARY KEY, -- order of arrival
    flow                INTEGER NOT NULL, -- flows.flow
    stream              INTEGER,          -- from 0; null = sum over all streams
    end                 INTEGER NOT NULL, -- 0 = tx, 1 = rx
    k                   INTEGER NOT NULL, -- number of the interval, from 0
    start_ns            INTEGER NOT NULL, -- from T0, that end's monotonic clock
    length_ns           INTEGER NOT NULL, -- real, not nominal
    flags               INTEGER NOT NULL, -- 1 warmup, 2 short, 4 coalesced, 8 estimated, 16 late-report, 32 clock-step
    offered_packets     INTEGER,
    offered_bytes       INTEGER,
    tx_packets          INTEGER,
    tx_bytes            INTEGER,
    rx_packets          INTEGER,
    rx_bytes            INTEGER,
    behind_packets      INTEGER,
    blocked_packets     INTEGER,
    refused_packets     INTEGER,
    egress_packets      INTEGER,
    rx_of_tx_packets    INTEGER,
    lost_packets        INTEGER,
    socket_drops        INTEGER,
    late                INTEGER,
    duplicate           INTEGER,
    reordered           INTEGER
) STRICT;

-- Only for rows with delay or round-trip samples.
CREATE TABLE record_delay (
    record          INTEGER PRIMARY KEY,
    delay_n         INTEGER,
    delay_min_ns    INTEGER,
    delay_mean_ns   INTEGER,
    delay_p50_ns    INTEGER,
    delay_p90_ns    INTEGER,
    delay_p99_ns    INTEGER,
    delay_max_ns    INTEGER,
    delay_bound_ns  INTEGER, -- bound of the clocks' error; 0 = same kernel
    delay_hist      BLOB,    -- log-linear, 1/16 octave
    rtt_n           INTEGER,
    rtt_p50_ns      INTEGER,
    rtt_p99_ns      INTEGER,
    rtt_hist        BLOB
) STRICT;

-- Only for rows of a TCP generator.
CREATE TABLE record_tcp (
    record              INTEGER PRIMARY KEY,
    acked_bytes         INTEGER,
    retransmits         INTEGER, -- segments
    retrans_bytes       INTEGER,
    cwnd_bytes          INTEGER,
    srtt_us             INTEGER,
    min_rtt_us          INTEGER,
    rttvar_us           INTEGER,
    delivery_bps        INTEGER,
    busy_us             INTEGER,
    rwnd_limited_us     INTEGER,
    sndbuf_limited_us   INTEGER,
    unacked_bytes       INTEGER,
    segs_out            INTEGER
) STRICT;

-- Only for rows with any of these.
CREATE TABLE record_more (
    record              INTEGER PRIMARY KEY,
    source              TEXT,    -- reported; null = measured
    lateness_p50_ns     INTEGER,
    lateness_p99_ns     INTEGER,
    lateness_max_ns     INTEGER,
    lateness_hist       BLOB,
    blocked_us          INTEGER,
    control_packets     INTEGER,
    sndbuf_bytes        INTEGER,
    rcvbuf_bytes        INTEGER,
    reorder_extent_max  INTEGER,
    jitter_ns           INTEGER, -- RFC 3550, at the end of the row
    ttl_min             INTEGER,
    ttl_max             INTEGER,
    ttl_changes         INTEGER,
    dscp_seen           TEXT,    -- numbers, ascending: 0 46
    ce                  INTEGER,
    corrupt_packets     INTEGER,
    echo_packets        INTEGER,
    cpu_us              INTEGER,
    runq_wait_us        INTEGER,
    throttled_us        INTEGER
) STRICT;

-- The rows of closed runs in the order of queries. Filled when a run closes,
-- so that a running one pays nothing for it.
CREATE TABLE record_index (
    flow    INTEGER NOT NULL,
    end     INTEGER NOT NULL,
    stream  INTEGER NOT NULL, -- -1 = sum over all streams
    k       INTEGER NOT NULL,
    record  INTEGER NOT NULL,
    PRIMARY KEY (flow, end, stream, k, record)
) STRICT, WITHOUT ROWID;

-- How each end of a flow ended: sums over its rows, and its measured window.
CREATE TABLE manifests (
    manifest            INTEGER PRIMARY KEY,
    flow                INTEGER NOT NULL, -- flows.flow
    end                 TEXT NOT NULL,    -- tx, rx
    agent               TEXT NOT NULL,
    boot                TEXT NOT NULL,
    rows                INTEGER NOT NULL, -- of this flow and end, streams and sums
    how                 TEXT NOT NULL,    -- completed, stopped, failed
    reason              TEXT,
    total_tx_packets    INTEGER,
    total_tx_bytes      INTEGER,
    total_rx_packets    INTEGER,
    total_rx_bytes      INTEGER,
    total_lost_packets  INTEGER,
    window_start_ns     INTEGER NOT NULL, -- measured window, from T0
    window_length_ns    INTEGER NOT NULL,
    window_tx_packets   INTEGER,
    window_tx_bytes     INTEGER,
    window_rx_packets   INTEGER,
    window_rx_bytes     INTEGER,
    window_lost_packets INTEGER,
    drained_bytes       INTEGER,          -- TCP: read after the window
    unread_bytes        INTEGER,          -- TCP: sent and never read
    control_packets     INTEGER,
    closed_json         TEXT NOT NULL     -- everything
) STRICT;
CREATE INDEX manifests_flow ON manifests (flow);

-- Null until built: filled by network events of campaigns.
CREATE TABLE events (
    event           INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL,
    name            TEXT NOT NULL,
    repeat          INTEGER NOT NULL,
    at_ns           INTEGER NOT NULL, -- planned, from T0
    began_ns        INTEGER,
    ended_ns        INTEGER,
    on_agent        TEXT,
    exit_code       INTEGER,
    bound_us        INTEGER           -- bound of the clocks' error
) STRICT;
CREATE INDEX events_run ON events (run);

-- The longest 1,000 outages of each flow, from the receiver's manifest.
CREATE TABLE outages (
    outage          INTEGER PRIMARY KEY,
    flow            INTEGER NOT NULL, -- flows.flow
    stream          INTEGER NOT NULL,
    from_ns         INTEGER NOT NULL, -- first lost send, from T0
    to_ns           INTEGER,          -- first send after which nothing is lost for 1 s; null = the flow ended before
    length_ns       INTEGER NOT NULL, -- to there, or to the end of the flow
    first_seq       INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    lost_packets    INTEGER,          -- null = only silence tells of it
    event           INTEGER           -- events.event; null until built
) STRICT;
CREATE INDEX outages_flow ON outages (flow);

-- Records that an agent could not deliver: damaged on its disk, or never made because it ended.
CREATE TABLE gaps (
    gap             INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL,
    agent           TEXT NOT NULL,
    boot            TEXT NOT NULL,
    first_seq       INTEGER,          -- null = the record never had a number
    last_seq        INTEGER,
    flow            INTEGER,          -- flows.flow; null = not known
    end             TEXT,             -- tx, rx
    from_ns         INTEGER,
    to_ns           INTEGER,
    why             TEXT NOT NULL
) STRICT;
CREATE INDEX gaps_run ON gaps (run);

-- Files that ends of flows with `log_file` wrote on their hosts; their bytes stay there.
CREATE TABLE artifacts (
    flow            INTEGER NOT NULL, -- flows.flow
    end             TEXT NOT NULL,    -- tx, rx
    agent           TEXT NOT NULL,
    name            TEXT NOT NULL,
    size_bytes      INTEGER NOT NULL,
    sha256          BLOB NOT NULL,    -- 32 bytes
    PRIMARY KEY (flow, end)
) STRICT, WITHOUT ROWID;

-- Filled by each agent that observes the run, routers too, from its interfaces' counters.
CREATE TABLE links (
    run                 INTEGER NOT NULL,
    agent               TEXT NOT NULL,
    interface           TEXT NOT NULL,
    k                   INTEGER NOT NULL,
    start_ns            INTEGER NOT NULL,
    length_ns           INTEGER NOT NULL,
    rx_bytes            INTEGER,
    rx_packets          INTEGER,
    rx_drops            INTEGER,
    rx_errors           INTEGER,
    tx_bytes            INTEGER,
    tx_packets          INTEGER,
    tx_drops            INTEGER,
    tx_errors           INTEGER,
    qdisc               TEXT,    -- kind of the one that dropped, else of the root
    qdisc_backlog_bytes INTEGER, -- at the end of the row
    qdisc_drops         INTEGER,
    PRIMARY KEY (run, agent, interface, k)
) STRICT, WITHOUT ROWID;

-- Filled by one agent of each kernel from /proc.
CREATE TABLE kernels (
    run                 INTEGER NOT NULL,
    kernel_boot_id      TEXT NOT NULL,
    k                   INTEGER NOT NULL,
    start_ns            INTEGER NOT NULL,
    length_ns           INTEGER NOT NULL,
    cores               INTEGER NOT NULL,
    cpu_us              INTEGER, -- busy, all cores together
    steal_us            INTEGER,
    softnet_processed   INTEGER,
    softnet_dropped     INTEGER,
    softnet_squeezed    INTEGER,
    psi_cpu_some_us     INTEGER,
    PRIMARY KEY (run, kernel_boot_id, k)
) STRICT, WITHOUT ROWID;

-- How the observation of a run by an agent ended.
CREATE TABLE observations (
    run             INTEGER NOT NULL,
    agent           TEXT NOT NULL,
    boot            TEXT NOT NULL,
    observed_json   TEXT NOT NULL, -- rows told, captures seen, routes, load
    PRIMARY KEY (run, agent)
) STRICT, WITHOUT ROWID;

-- Everything of a row with its names: what a person queries.
CREATE VIEW record_view AS
SELECT
    flows.run, flows.repeat, flows.phase, flows.number AS flow, records.stream,
    CASE records.end WHEN 0 THEN 'tx' ELSE 'rx' END AS end,
    records.k, ifnull(record_more.source, 'measured') AS source,
    flows.set_name, flows.key, flows.from_name, flows.from_asn, flows.to_name, flows.to_asn, flows.transport,
    records.start_ns, records.length_ns, runs.t0_unix_ns + records.start_ns AS unix_ns, records.flags,
    records.offered_packets, records.offered_bytes, records.tx_packets, records.tx_bytes,
    records.behind_packets, records.blocked_packets, records.refused_packets, records.egress_packets,
    record_more.lateness_p50_ns / 1e3 AS lateness_p50_us, record_more.lateness_p99_ns / 1e3 AS lateness_p99_us,
    record_more.lateness_max_ns / 1e3 AS lateness_max_us,
    record_more.blocked_us, record_more.control_packets, record_more.sndbuf_bytes,
    record_tcp.acked_bytes, record_tcp.retransmits, record_tcp.retrans_bytes, record_tcp.cwnd_bytes,
    record_tcp.srtt_us, record_tcp.min_rtt_us, record_tcp.rttvar_us, record_tcp.delivery_bps,
    record_tcp.busy_us, record_tcp.rwnd_limited_us, record_tcp.sndbuf_limited_us, record_tcp.unacked_bytes,
    record_tcp.segs_out,
    record_more.rcvbuf_bytes, records.rx_packets, records.rx_bytes, records.rx_of_tx_packets,
    records.lost_packets, records.socket_drops, records.late, records.duplicate, records.reordered,
    record_more.reorder_extent_max, record_more.jitter_ns / 1e3 AS jitter_us,
    record_more.ttl_min, record_more.ttl_max, record_more.ttl_changes, record_more.dscp_seen,
    record_more.ce, record_more.corrupt_packets, record_more.echo_packets,
    record_delay.delay_n, record_delay.delay_min_ns / 1e3 AS delay_min_us,
    record_delay.delay_mean_ns / 1e3 AS delay_mean_us, record_delay.delay_p50_ns / 1e3 AS delay_p50_us,
    record_delay.delay_p90_ns / 1e3 AS delay_p90_us, record_delay.delay_p99_ns / 1e3 AS delay_p99_us,
    record_delay.delay_max_ns / 1e3 AS delay_max_us, record_delay.delay_bound_ns / 1e3 AS delay_bound_us,
    record_delay.delay_hist, record_delay.rtt_n, record_delay.rtt_p50_ns / 1e3 AS rtt_p50_us,
    record_delay.rtt_p99_ns / 1e3 AS rtt_p99_us, record_delay.rtt_hist,
    record_more.cpu_us, record_more.runq_wait_us, record_more.throttled_us
FROM records
JOIN flows ON flows.flow = records.flow
JOIN runs ON runs.run = flows.run
LEFT JOIN record_delay ON record_delay.record = records.record
LEFT JOIN record_tcp ON record_tcp.record = records.record
LEFT JOIN record_more ON record_more.record = records.record;
