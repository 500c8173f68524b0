package admin

import (
	"net/http"
	"regexp"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/presence"
	"github.com/godwit-im/godwit/session"
)

// Source is what the listener shows and does. Its functions are called from
// the goroutines that serve requests, several at a time but for Backup.
type Source struct {
	// Version is the server's, for the build metric.
	Version string
	// Ready is nil when new clients are welcome; otherwise its text is the reason.
	Ready func() error
	// Backup writes a checkpoint to dir. Where dir exists the error is, or
	// wraps, fs.ErrExist.
	Backup func(dir string) error

	Net      *netpoll.Stats
	Session  *session.Stats
	Sessions func() (sessions, users int)
	Chat     func() chat.Stats
	Delivery func() delivery.Stats
	Presence func() presence.Stats
	Store    func() msgstore.Stats
}

// Metrics holds the histograms. It exists before the packages that fill them,
// and hands out the hooks for their configurations. The hooks may be called
// from any goroutine and don't block.
type Metrics struct {
	ack, delivery, syncRequest, fsync, commit, batch prometheus.Histogram
}

// NewMetrics returns empty histograms.
func NewMetrics() *Metrics {
	latency := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 18), // 50 µs to 6.6 s
		})
	}
	return &Metrics{
		ack:         latency("godwit_ack_seconds", "From the arrival of a SEND or MARK to its answer."),
		delivery:    latency("godwit_delivery_seconds", "From the arrival of a SEND to the push of its message."),
		syncRequest: latency("godwit_sync_seconds", "From the arrival of a SYNC to its answer."),
		fsync:       latency("godwit_fsync_seconds", "One sync of the store's log."),
		commit:      latency("godwit_commit_seconds", "Applying and committing one batch, sync included."),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "godwit_batch_commands", Help: "Commands in one batch.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7), // 1 to 4,096
		}),
	}
}

// ObserveAck records the time from a request's arrival to its answer.
func (m *Metrics) ObserveAck(d time.Duration) { m.ack.Observe(d.Seconds()) }

// ObserveDelivery records the time from a SEND's arrival to the push.
func (m *Metrics) ObserveDelivery(d time.Duration) { m.delivery.Observe(d.Seconds()) }

// ObserveSyncRequest records the time that a SYNC took.
func (m *Metrics) ObserveSyncRequest(d time.Duration) { m.syncRequest.Observe(d.Seconds()) }

// ObserveSync records the time that the disk took to sync.
func (m *Metrics) ObserveSync(d time.Duration) { m.fsync.Observe(d.Seconds()) }

// ObserveBatch records one batch of the command log.
func (m *Metrics) ObserveBatch(commands int, took time.Duration) {
	m.batch.Observe(float64(commands))
	m.commit.Observe(took.Seconds())
}

// handler serves the histograms and what src tells at each scrape.
func (m *Metrics) handler(src Source) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		m.ack, m.delivery, m.syncRequest, m.fsync, m.commit, m.batch,
		// The live heap beside the defaults: what is held, without the garbage
		// that waits for a collection.
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newCounters(src),
	)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "godwit_build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": src.Version, "go": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(build)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
