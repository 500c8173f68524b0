package ceiling

import (
	"fmt"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godwit-im/godwit/protocol"
)

// storer is the relay that first has one writer put what came into Pebble: all
// that has come while the last batch was synced is the next batch, and only
// then are its acks and pushes handed to the loops.
type storer struct {
	db      *pebble.DB
	w       *writer
	seqs    map[int]uint64 // the last of each pair, by its number; the writer's
	bell    chan struct{}  // capacity 1; closed at the end
	stopped chan struct{}  // closed when the writer has ended

	mu   sync.Mutex // guards came
	came queued
}

// queued is what reads have brought.
type queued struct {
	bytes []byte
	reads []keptRead
}

// keptRead is one read: bytes[from:mid] are the acks, bytes[mid:to] the pushes.
type keptRead struct {
	c             *conn
	from, mid, to int
}

func newStorer(j job) (role, error) {
	db, err := openPebble(j.Dir)
	if err != nil {
		return role{}, err
	}
	s := &storer{
		db:      db,
		w:       newWriter(0, 0),
		seqs:    make(map[int]uint64),
		bell:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
	go s.run()
	return role{frame: newRelay(j.Tail).frame, keep: s.keep, close: s.close}, nil
}

// keep queues a read. It is called on c's loop.
func (s *storer) keep(c *conn, answer, push []byte) {
	s.mu.Lock()
	q := &s.came
	from := len(q.bytes)
	q.bytes = append(append(q.bytes, answer...), push...)
	q.reads = append(q.reads, keptRead{c, from, from + len(answer), len(q.bytes)})
	s.mu.Unlock()
	select {
	case s.bell <- struct{}{}:
	default: // it was rung already
	}
}

// run is the writer.
func (s *storer) run() {
	defer close(s.stopped)
	var q queued
	for range s.bell {
		s.mu.Lock()
		q, s.came = s.came, queued{q.bytes[:0], q.reads[:0]}
		s.mu.Unlock()
		if len(q.reads) == 0 {
			continue
		}
		if err := s.commit(q); err != nil {
			fmt.Fprintln(os.Stderr, "ceiling:", err) // and the load waits in vain
			return
		}
		for _, r := range q.reads {
			r.c.send(q.bytes[r.from:r.mid])
			r.c.peer.send(q.bytes[r.mid:r.to])
		}
	}
}

// commit stores the messages that are in the pushes.
func (s *storer) commit(q queued) error {
	b := s.db.NewBatch()
	for _, r := range q.reads {
		for push := q.bytes[r.mid:r.to]; len(push) > 0; {
			f, n, err := protocol.Parse(push, maxBody)
			if err != nil {
				return err
			}
			push = push[n:]
			s.w.n++
			s.seqs[r.c.pair]++
			s.w.value = append(append(s.w.value[:0], make([]byte, 8)...), f.Body...)
			if err := s.w.put(b, r.c.pair, s.seqs[r.c.pair]); err != nil {
				return err
			}
		}
	}
	if err := s.w.seal(b); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	return b.Close()
}

// close is called when the loops have ended.
func (s *storer) close() error {
	close(s.bell)
	<-s.stopped
	return s.db.Close()
}
