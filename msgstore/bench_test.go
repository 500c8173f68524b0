package msgstore

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const benchConversations = 10_000

// benchBody is 256 bytes that compress about as well as chat does.
func benchBody(rnd *rand.Rand) []byte {
	words := []string{"the ", "meeting ", "is ", "at ", "noon ", "tomorrow ", "please ", "bring ", "coffee ", "and ", "see ", "you "}
	var b []byte
	for len(b) < 256 {
		if b = append(b, words[rnd.IntN(len(words))]...); rnd.IntN(3) == 0 {
			b = fmt.Appendf(b, "%d ", rnd.IntN(10000))
		}
	}
	return b[:256]
}

// benchSend does what applying a SEND does to a Tx.
func benchSend(b *testing.B, s *Store, tx *Tx, index []uint64, from, to string, n int, body []byte) {
	id := protocol.DirectID(from, to)
	p := s.PartitionOf(id)
	index[p]++
	client := fmt.Sprintf("%016x%016x", uint64(n)*0x9e3779b97f4a7c15, n)
	if _, found, err := tx.FindByClientID(id, from, client); err != nil || found {
		b.Fatal(found, err)
	}
	h, exists, err := tx.Head(id)
	if err == nil && !exists {
		err = tx.Create(index[p], id, from, to)
	}
	if err != nil {
		b.Fatal(err)
	}
	m := &pb.Message{
		Conversation: id, Seq: h.Seq + 1, Id: s.NextID(), Sender: from, ClientId: client, TimeMs: int64(n),
		Kind: pb.Kind_KIND_TEXT, Body: body, Count: h.Count + 1, SenderCount: h.Count - h.Others(from) + 1,
	}
	if err := tx.Append(index[p], m, protocol.AppendMessage(nil, m)); err != nil {
		b.Fatal(err)
	}
}

func benchUsers(n int) (from, to string) {
	return fmt.Sprintf("user%d", n), fmt.Sprintf("user%d", n+1)
}

// cpuTime is the processor time that the process has used, compactions
// included: what a figure from a shared machine is worth.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAppend appends messages of 256 bytes to random conversations, on
// the machine's disk, in synced batches of the given size.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 64, 512, 4096} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			opts := DefaultOptions()
			opts.Dir = b.TempDir()
			opts.MinFree = 0
			s := open(b, opts)
			defer closeStore(b, s)
			rnd := rand.New(rand.NewPCG(1, 1))
			bodies := make([][]byte, 1000)
			for i := range bodies {
				bodies[i] = benchBody(rnd)
			}
			index := make([]uint64, s.Partitions())
			b.ReportAllocs()
			n := 0
			cpu := cpuTime(b)
			for b.Loop() {
				tx := s.Begin()
				for range batch {
					n++
					from, to := benchUsers(rnd.IntN(benchConversations))
					benchSend(b, s, tx, index, from, to, n, bodies[n%len(bodies)])
				}
				if err := tx.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
			st := s.Stats()
			b.ReportMetric(float64(st.LoggedBytes)/float64(n), "log-B/msg")
			b.ReportMetric(float64(st.LoggedBytes+st.FlushedBytes+st.CompactedBytes)/float64(n), "disk-B/msg")
			b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(n), "cpu-ns/msg")
		})
	}
}

// benchStore is a compacted store of a million messages: 100 in each of 10,000
// conversations, written round robin.
func benchStore(b *testing.B, headCache int) *Store {
	opts := DefaultOptions()
	opts.Dir = b.TempDir()
	opts.MinFree = 0
	opts.HeadCache = headCache
	opts.Durability = Interval
	s := open(b, opts)
	b.Cleanup(func() { closeStore(b, s) })
	rnd := rand.New(rand.NewPCG(1, 1))
	index := make([]uint64, s.Partitions())
	for range 100 {
		tx := s.Begin()
		for i := range benchConversations {
			from, to := benchUsers(i)
			benchSend(b, s, tx, index, from, to, rnd.Int(), benchBody(rnd))
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Compact(b.Context(), []byte{0}, []byte{0xff, 0xff}, true); err != nil {
		b.Fatal(err)
	}
	total := s.db.Metrics().Total()
	b.Logf("a message takes %d bytes in the tables", total.TablesSize/(100*benchConversations))
	return s
}

func BenchmarkRead(b *testing.B) {
	s := benchStore(b, 100_000)
	ids := make([]string, benchConversations)
	for i := range ids {
		ids[i] = protocol.DirectID(benchUsers(i))
	}
	for _, backward := range []bool{false, true} {
		name := map[bool]string{false: "first 50", true: "last 50"}[backward]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				r, err := s.Range(ids[rand.IntN(len(ids))], 0, 0, backward, 50, 1<<20, buf[:0])
				if err != nil || r.N != 50 {
					b.Fatal(r.N, err)
				}
				buf = r.Encoded
			}
			b.ReportMetric(50*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
	b.Run("head", func(b *testing.B) {
		for b.Loop() {
			if _, exists, err := s.Head(ids[rand.IntN(len(ids))]); err != nil || !exists {
				b.Fatal(exists, err)
			}
		}
	})
	b.Run("cold head", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, exists, err := s.findHead(ids[rand.IntN(len(ids))]); err != nil || !exists {
				b.Fatal(exists, err)
			}
		}
	})
	b.Run("new client id", func(b *testing.B) {
		b.ReportAllocs()
		tx := s.Begin()
		defer tx.Discard()
		n := 0
		for b.Loop() {
			n++
			i := rand.IntN(len(ids))
			from, _ := benchUsers(i)
			if _, found, err := tx.FindByClientID(ids[i], from, fmt.Sprint(n)); err != nil || found {
				b.Fatal(found, err)
			}
		}
	})
	b.Run("member", func(b *testing.B) {
		for b.Loop() {
			i := rand.IntN(len(ids))
			from, _ := benchUsers(i)
			if _, found, err := s.Member(from, ids[i]); err != nil || !found {
				b.Fatal(found, err)
			}
		}
	})
	b.Run("members", func(b *testing.B) {
		for b.Loop() {
			from, _ := benchUsers(rand.IntN(len(ids)))
			n := 0
			if err := s.Members(from, nil, func(string, Member) error { n++; return nil }); err != nil || n == 0 {
				b.Fatal(n, err)
			}
		}
	})
}

// BenchmarkOpen closes and opens a store with most of a memtable, written since
// the last flush.
func BenchmarkOpen(b *testing.B) {
	opts := DefaultOptions()
	opts.Dir = b.TempDir()
	opts.MinFree = 0
	opts.Durability = Interval
	rnd := rand.New(rand.NewPCG(1, 1))
	s := open(b, opts)
	index := make([]uint64, s.Partitions())
	var closing, opening time.Duration
	n := 0
	for b.Loop() {
		for s.flushes.filled.Load() < opts.MemTableBytes*3/4 {
			tx := s.Begin()
			for range 1000 {
				n++
				from, to := benchUsers(rnd.IntN(benchConversations))
				benchSend(b, s, tx, index, from, to, n, benchBody(rnd))
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
		began := time.Now()
		closeStore(b, s)
		closing += time.Since(began)
		began = time.Now()
		s = open(b, opts)
		opening += time.Since(began)
	}
	closeStore(b, s)
	b.ReportMetric(float64(closing.Milliseconds())/float64(b.N), "close-ms")
	b.ReportMetric(float64(opening.Milliseconds())/float64(b.N), "open-ms")
}
