package bench

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkDirect measures a real server with one message under way for each
// of 1, 64 and 512 senders. One iteration takes 10 s; the figures are the
// metrics, not the time per iteration.
func BenchmarkDirect(b *testing.B) {
	for _, senders := range []int{1, 64, 512} {
		b.Run(strconv.Itoa(senders), func(b *testing.B) {
			target, _ := start(b)
			for b.Loop() {
				report, err := Direct(b.Context(), DirectConfig{Target: target, Pairs: senders})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(report.Rate, "msgs/s")
				for name, l := range map[string]Latency{"ack": report.Ack, "delivery": report.Delivery} {
					b.ReportMetric(float64(l.P50), name+"-p50-µs")
					b.ReportMetric(float64(l.P99), name+"-p99-µs")
				}
			}
			b.ReportMetric(0, "ns/op") // means nothing
		})
	}
}

// BenchmarkIdle measures the server's memory for each of as many idle sessions
// as the limit of open files allows, up to 19,000.
func BenchmarkIdle(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	sessions := min(int(limit.Cur)-1000, 19_000) // both processes need a few for themselves
	target, pid := start(b, "--max-connections", strconv.Itoa(sessions+100))
	for b.Loop() {
		report, err := Connect(b.Context(), ConnectConfig{Target: target, Sessions: sessions, PID: pid, Settle: 5 * time.Second})
		if err != nil {
			b.Fatal(err)
		}
		if report.Alive != sessions {
			b.Fatal(fmt.Errorf("%d of %d sessions are alive", report.Alive, sessions))
		}
		b.ReportMetric(float64(sessions), "sessions")
		b.ReportMetric(report.PerSession, "B/session")
		b.ReportMetric(report.Rate, "logins/s")
	}
	b.ReportMetric(0, "ns/op")
}
