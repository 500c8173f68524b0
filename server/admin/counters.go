package admin

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/presence"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// scrape is what one answer to /metrics is made of: each package is asked once.
type scrape struct {
	Source
	sessions, users int
	chat            chat.Stats
	delivery        delivery.Stats
	presence        presence.Stats
	store           msgstore.Stats
}

// counter is one metric of a package's Stats. With a label, read says the
// value for each of values.
type counter struct {
	name, help string
	kind       prometheus.ValueType
	label      string
	values     []string
	read       func(s *scrape, value string) float64
}

func total(name, help string, read func(*scrape) uint64) counter {
	return counter{name: name, help: help, kind: prometheus.CounterValue, read: func(s *scrape, _ string) float64 { return float64(read(s)) }}
}

func gauge(name, help string, read func(*scrape) float64) counter {
	return counter{name: name, help: help, kind: prometheus.GaugeValue, read: func(s *scrape, _ string) float64 { return read(s) }}
}

// table is every metric but the histograms; docs/OPERATIONS.md explains each.
// The values of a label are fixed here, so their number is bounded: never a
// user, a conversation or an address.
func table() []counter {
	return []counter{
		gauge("godwit_connections", "Open connections.", func(s *scrape) float64 { return float64(s.Net.Open.Load()) }),
		gauge("godwit_connections_unauthenticated", "Open connections without a session.", func(s *scrape) float64 { return float64(s.Net.Unauthenticated.Load()) }),
		total("godwit_connections_accepted_total", "Connections admitted.", func(s *scrape) uint64 { return s.Net.Accepted.Load() }),
		{
			name: "godwit_connections_refused_total", help: "Connections turned away at the door.", kind: prometheus.CounterValue,
			label: "reason", values: []string{"total", "unauthenticated", "rate", "draining"}, read: refusedConnections,
		},
		total("godwit_connections_bad_input_total", "Connections closed for bytes that are not frames.", func(s *scrape) uint64 { return s.Net.BadInput.Load() }),
		total("godwit_slow_consumers_total", "Connections closed because their peer does not read.", func(s *scrape) uint64 { return s.Net.SlowClosed.Load() }),
		total("godwit_connections_cut_total", "Connections ended with output that could not be flushed.", func(s *scrape) uint64 { return s.Net.Cut.Load() }),
		total("godwit_received_bytes_total", "Bytes from clients.", func(s *scrape) uint64 { return s.Net.BytesIn.Load() }),
		total("godwit_received_frames_total", "Frames from clients.", func(s *scrape) uint64 { return s.Net.FramesIn.Load() }),
		total("godwit_sent_bytes_total", "Bytes to clients.", func(s *scrape) uint64 { return s.Net.BytesOut.Load() }),
		total("godwit_sent_frames_total", "Frames to clients.", func(s *scrape) uint64 { return s.Net.FramesOut.Load() }),
		total("godwit_writes_total", "Hand-overs of frames to the kernel, several frames each under load.", func(s *scrape) uint64 { return s.Net.Writes.Load() }),

		gauge("godwit_sessions", "Authenticated devices.", func(s *scrape) float64 { return float64(s.sessions) }),
		gauge("godwit_users", "Users with at least one session.", func(s *scrape) float64 { return float64(s.users) }),
		{
			name: "godwit_auth_total", help: "CONNECTs and RENEWs by result: ok, or the code of the refusal.", kind: prometheus.CounterValue,
			label: "result", values: authResults(), read: authResult,
		},
		total("godwit_takeovers_total", "Sessions replaced by a newer one: of their device or, by the login policy, of their user.", func(s *scrape) uint64 { return s.Session.Takeovers.Load() }),
		total("godwit_devices_ended_total", "Sessions ended by another of their user's devices.", func(s *scrape) uint64 { return s.Session.DevicesEnded.Load() }),
		total("godwit_connect_timeouts_total", "Connections without a CONNECT in time.", func(s *scrape) uint64 { return s.Session.ConnectTimeouts.Load() }),
		total("godwit_heartbeat_timeouts_total", "Sessions closed for silence.", func(s *scrape) uint64 { return s.Session.HeartbeatTimeouts.Load() }),
		total("godwit_token_expiries_total", "Sessions closed because their token ran out.", func(s *scrape) uint64 { return s.Session.Expiries.Load() }),
		gauge("godwit_sessions_lagging", "Sessions that get heads instead of bodies at the moment.", func(s *scrape) float64 { return float64(s.Session.Lagging.Load()) }),
		total("godwit_sessions_lagged_total", "Times that a session began to lag.", func(s *scrape) uint64 { return s.Session.Lagged.Load() }),

		total("godwit_commands_total", "Commands applied: sends, marks, retention.", func(s *scrape) uint64 { return s.chat.Commands }),
		total("godwit_messages_total", "Messages accepted and stored.", func(s *scrape) uint64 { return s.chat.Messages }),
		total("godwit_duplicates_total", "Resends answered with their first ack.", func(s *scrape) uint64 { return s.chat.Duplicates }),
		total("godwit_busy_total", "Requests refused because a partition's queue was full.", func(s *scrape) uint64 { return s.chat.Busy }),
		total("godwit_storage_full_total", "Messages refused because the disk is nearly full.", func(s *scrape) uint64 { return s.chat.Full }),
		total("godwit_trimmed_total", "Messages removed by retention.", func(s *scrape) uint64 { return s.chat.Trimmed }),
		gauge("godwit_queue_commands", "Commands that wait for a batch, all partitions together.", func(s *scrape) float64 { return float64(s.chat.Waiting) }),
		gauge("godwit_commit_age_seconds", "For how long the oldest commit has been under way; a failing disk makes one hang.", func(s *scrape) float64 { return s.chat.Committing.Seconds() }),

		total("godwit_pushed_messages_total", "Messages pushed, to one session each.", func(s *scrape) uint64 { return s.delivery.Messages }),
		total("godwit_pushed_receipts_total", "Receipts pushed, to one session each.", func(s *scrape) uint64 { return s.delivery.Receipts }),
		total("godwit_pushed_heads_total", "HEADS pushed in the place of messages, to sessions that had lagged.", func(s *scrape) uint64 { return s.Session.HeadsSent.Load() }),
		{
			name: "godwit_reads_total", help: "Reads answered, by request.", kind: prometheus.CounterValue,
			label: "request", values: []string{"sync", "pull", "who", "subscribe"}, read: readsAnswered,
		},
		total("godwit_reads_failed_total", "Reads that the store failed.", func(s *scrape) uint64 { return s.delivery.Failed }),
		gauge("godwit_queue_reads", "Reads that wait for a worker.", func(s *scrape) float64 { return float64(s.delivery.Waiting) }),
		gauge("godwit_groups_online", "Groups with a member who is online.", func(s *scrape) float64 { return float64(s.delivery.Groups) }),
		gauge("godwit_group_seats", "Sessions of members in all of these groups.", func(s *scrape) float64 { return float64(s.delivery.Seats) }),
		gauge("godwit_group_backlog_bytes", "What waits to be pushed to large groups, for each event loop.", func(s *scrape) float64 { return float64(s.delivery.Backlog) }),
		total("godwit_group_missed_total", "Pushes that members of a large group, or those of an event loop, were told of by HEADS alone.", func(s *scrape) uint64 { return s.delivery.Missed }),

		gauge("godwit_presence_subscriptions", "Subscriptions of sessions to users' presence.", func(s *scrape) float64 { return float64(s.presence.Subscriptions) }),
		gauge("godwit_presence_users", "Users who are subscribed to, or have just gone.", func(s *scrape) float64 { return float64(s.presence.Users) }),
		total("godwit_pushed_presence_total", "PRESENCE pushed, to one session each.", func(s *scrape) uint64 { return s.presence.Told }),
		total("godwit_presence_delayed_total", "PRESENCE put off because the session was slow, by a second each time.", func(s *scrape) uint64 { return s.presence.Missed }),
		total("godwit_presence_reads_failed_total", "Reads for a PRESENCE that the store failed; tried again.", func(s *scrape) uint64 { return s.presence.Failed }),
		total("godwit_last_seen_total", "Times that it was stored when a user was seen last.", func(s *scrape) uint64 { return s.presence.Seen }),
		total("godwit_signals_total", "SIGNALs taken on.", func(s *scrape) uint64 { return s.presence.Signals }),
		total("godwit_pushed_signals_total", "SIGNAL_FROM pushed, to one session each.", func(s *scrape) uint64 { return s.presence.Signalled }),

		total("godwit_store_commits_total", "Batches committed.", func(s *scrape) uint64 { return s.store.Commits }),
		total("godwit_store_committed_bytes_total", "Size of the batches committed.", func(s *scrape) uint64 { return s.store.CommittedBytes }),
		total("godwit_store_committed_records_total", "Records in the batches committed.", func(s *scrape) uint64 { return s.store.CommittedRecords }),
		{
			name: "godwit_store_written_bytes_total", help: "Bytes written to disk: to the log, from memory to files, and from files to files.", kind: prometheus.CounterValue,
			label: "by", values: []string{"log", "flush", "compaction"}, read: writtenBytes,
		},
		total("godwit_store_syncs_total", "Syncs of the store's log.", func(s *scrape) uint64 { return s.store.Syncs }),
		{
			name: "godwit_store_head_lookups_total", help: "Lookups of a conversation's head, by whether it was cached.", kind: prometheus.CounterValue,
			label: "cache", values: []string{"hit", "miss"}, read: headLookups,
		},
		{
			name: "godwit_store_block_lookups_total", help: "Lookups in the block cache.", kind: prometheus.CounterValue,
			label: "cache", values: []string{"hit", "miss"}, read: blockLookups,
		},
		gauge("godwit_store_stalled", "1 while Pebble holds writes back.", func(s *scrape) float64 { return oneIf(s.store.Stalled) }),
		total("godwit_store_stalls_total", "Times that Pebble held writes back.", func(s *scrape) uint64 { return s.store.Stalls }),
		{
			name: "godwit_store_stall_seconds_total", help: "Time that Pebble held writes back.", kind: prometheus.CounterValue,
			read: func(s *scrape, _ string) float64 { return s.store.StallTime.Seconds() },
		},
		total("godwit_store_corruptions_total", "Reads that found damaged data.", func(s *scrape) uint64 { return s.store.Corruptions }),
		gauge("godwit_store_memtable_bytes", "Memory of the store's memtables.", func(s *scrape) float64 { return float64(s.store.MemTableBytes) }),
		gauge("godwit_store_compaction_debt_bytes", "What is left to compact.", func(s *scrape) float64 { return float64(s.store.CompactionDebt) }),
		gauge("godwit_store_read_amplification", "How many files a cold read may look into.", func(s *scrape) float64 { return float64(s.store.ReadAmp) }),
		gauge("godwit_store_bytes", "Size of the store's files.", func(s *scrape) float64 { return float64(s.store.DiskBytes) }),
		gauge("godwit_disk_free_bytes", "What is left on the store's file system; 0 where that is unknown.", func(s *scrape) float64 { return float64(s.store.FreeBytes) }),
	}
}

func refusedConnections(s *scrape, reason string) float64 {
	r := &s.Net.Refused
	counts := map[string]*atomic.Uint64{"total": &r.Total, "unauthenticated": &r.Unauthenticated, "rate": &r.Rate, "draining": &r.Draining}
	return float64(counts[reason].Load())
}

func authResults() []string {
	results := []string{"ok"}
	for n := range pb.Code_name {
		if code := pb.Code(n); code != pb.Code_CODE_UNSPECIFIED {
			results = append(results, code.Name())
		}
	}
	return results
}

func authResult(s *scrape, result string) float64 {
	if result == "ok" {
		return float64(s.Session.Connects.Load() + s.Session.Renewals.Load())
	}
	return float64(s.Session.Refused(protocol.Code(pb.Code_value["CODE_"+result])))
}

func readsAnswered(s *scrape, request string) float64 {
	return float64(map[string]uint64{"sync": s.delivery.Syncs, "pull": s.delivery.Pulls, "who": s.presence.Whos, "subscribe": s.presence.Subscribes}[request])
}

func writtenBytes(s *scrape, by string) float64 {
	return float64(map[string]uint64{"log": s.store.LoggedBytes, "flush": s.store.FlushedBytes, "compaction": s.store.CompactedBytes}[by])
}

func headLookups(s *scrape, cache string) float64 {
	return float64(map[string]uint64{"hit": s.store.HeadHits, "miss": s.store.HeadMisses}[cache])
}

func blockLookups(s *scrape, cache string) float64 {
	return float64(map[string]int64{"hit": s.store.BlockHits, "miss": s.store.BlockMisses}[cache])
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// counters is a prometheus.Collector of the table.
type counters struct {
	src   Source
	table []counter
	descs []*prometheus.Desc // by the table's order
}

func newCounters(src Source) *counters {
	c := &counters{src: src, table: table()}
	for _, m := range c.table {
		var labels []string
		if m.label != "" {
			labels = []string{m.label}
		}
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *counters) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *counters) Collect(out chan<- prometheus.Metric) {
	s := scrape{Source: c.src, chat: c.src.Chat(), delivery: c.src.Delivery(), presence: c.src.Presence(), store: c.src.Store()}
	s.sessions, s.users = c.src.Sessions()
	for i, m := range c.table {
		if m.label == "" {
			out <- prometheus.MustNewConstMetric(c.descs[i], m.kind, m.read(&s, ""))
		}
		for _, value := range m.values {
			out <- prometheus.MustNewConstMetric(c.descs[i], m.kind, m.read(&s, value), value)
		}
	}
}
