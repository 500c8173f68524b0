package ceiling

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
)

// ScanConfig is the shape of a scan: pages of the newest messages of
// conversations at random.
type ScanConfig struct {
	Dir      string // on the file system to be measured; the database in it is removed
	Messages int    // in the log; default 1,000,000
	Each     int    // of them in a conversation; default 200
	Page     int    // messages read at a time; default 50
	Size     int    // body in bytes; default 256
	// Conns have a page each under way with ScanSend; default 64.
	Conns int
	Loops Loops
	Timing
	// CPUProfile is a file for the profile of the server that sends; "" = none.
	CPUProfile string
}

// ScanResult is what reading does.
type ScanResult struct {
	Messages, Page int
	// Fresh has an iterator made for every page, Reused one for all, on one
	// goroutine; messages per second.
	Fresh, Reused float64
	// Sent is messages per second that were read and sent as pages of PULLED,
	// and Page latency from the request to the last byte.
	Sent     float64
	SentPage report.Latency
	Cost     Cost // per page
}

func (c *ScanConfig) withDefaults() error {
	set(&c.Messages, 1_000_000)
	set(&c.Each, 200)
	set(&c.Page, 50)
	set(&c.Size, 256)
	set(&c.Conns, 64)
	if c.Dir == "" || c.Each < 1 || c.Messages < c.Each || c.Page < 1 || c.Page > c.Each || c.Size < 1 || c.Conns < 1 || c.Conns > 4000 {
		return errors.New("ceiling: want a directory, messages, and no more on a page than in a conversation")
	}
	if c.Page*(c.Size+256) > maxBody {
		return fmt.Errorf("ceiling: a page is longer than %d bytes", maxBody)
	}
	return c.Timing.withDefaults()
}

// Scan makes a log, reads pages of it, and then reads and sends them: a gnet
// server in a process of its own answers a PULL with a PULLED, on its event
// loops, which Godwit must not do, since a read may wait for the disk; here it
// saves the way to another goroutine. That every page has its messages, in
// order, is checked.
func Scan(ctx context.Context, cfg ScanConfig) (r ScanResult, err error) {
	if err := cfg.withDefaults(); err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "ceiling-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := logConfig{Dir: dir, Conversations: cfg.Messages / cfg.Each, Each: cfg.Each, Size: cfg.Size, Page: cfg.Page}
	if err := log.build(ctx); err != nil {
		return r, err
	}
	r = ScanResult{Messages: log.Conversations * log.Each, Page: cfg.Page}
	if r.Fresh, err = scan(ctx, log, cfg.Timing, false); err != nil {
		return r, err
	}
	if r.Reused, err = scan(ctx, log, cfg.Timing, true); err != nil {
		return r, err
	}
	j := job{Role: rolePull, Log: log, CPUProfile: cfg.CPUProfile}
	l, cost, err := run(ctx, j, cfg.Timing, cfg.Loops, "pull", "", cfg.Conns, func(l *load, i int) flow {
		return &reader{load: l, log: log, random: rand.New(rand.NewPCG(3, uint64(i)))}
	})
	if err != nil {
		return r, err
	}
	r.SentPage, r.Cost = l.first.Latency(), cost
	r.Sent = float64(r.SentPage.Count) * float64(cfg.Page) / cfg.For.Seconds()
	return r, nil
}

// scan reads pages on this goroutine, and returns messages per second.
func scan(ctx context.Context, log logConfig, timing Timing, reuse bool) (rate float64, err error) {
	db, err := openPebble(log.Dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s := &scanner{db: db, log: log, reuse: reuse}
	defer func() { err = errors.Join(err, s.close()) }()
	random := rand.New(rand.NewPCG(1, 1))
	var page []byte
	began, warm, n := time.Now(), false, 0
	for ctx.Err() == nil {
		if passed := time.Since(began); warm && passed >= timing.For {
			break
		} else if !warm && passed >= timing.Warmup {
			began, warm, n = time.Now(), true, 0
		}
		if page, err = s.appendPage(page[:0], random.IntN(log.Conversations)); err != nil {
			return 0, err
		}
		n += log.Page
	}
	return float64(n) / time.Since(began).Seconds(), context.Cause(ctx)
}

// scanner reads the newest messages of a conversation. It belongs to one
// goroutine.
type scanner struct {
	db    *pebble.DB
	log   logConfig
	reuse bool

	it           *pebble.Iterator // with reuse
	lower, upper []byte
}

// appendPage appends the messages of a page to dst as the elements of a
// PULLED, from the oldest to the newest.
func (s *scanner) appendPage(dst []byte, conversation int) ([]byte, error) {
	it, err := s.iterator(conversation)
	if err != nil {
		return dst, err
	}
	n := 0
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return dst, err
		}
		dst = protocol.AppendStored(dst, value[8:]) // behind the stamp
		n++
	}
	err = it.Error()
	if !s.reuse {
		err = errors.Join(err, it.Close())
	}
	if err == nil && n != s.log.Page {
		err = fmt.Errorf("ceiling: %d messages are there where %d were written", n, s.log.Page)
	}
	return dst, err
}

func (s *scanner) iterator(conversation int) (*pebble.Iterator, error) {
	last := uint64(s.log.Each)
	s.lower = appendMessageKey(s.lower[:0], conversation, last-uint64(s.log.Page)+1)
	s.upper = appendMessageKey(s.upper[:0], conversation, last+1)
	if s.it != nil {
		s.it.SetBounds(s.lower, s.upper)
		return s.it, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: s.lower, UpperBound: s.upper})
	if s.reuse {
		s.it = it
	}
	return it, err
}

func (s *scanner) close() error {
	if s.it == nil {
		return nil
	}
	return s.it.Close()
}
