package main

import (
	"context"
	"fmt"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
)

// crowd is sessions that are connected, subscribed and silent.
type crowd struct {
	server *server
	fleet  *fleet.Fleet
	run    uint64
	fail   context.CancelCauseFunc
	users  int
	rows   map[*fleet.Loop]*row
}

// row is a loop's part of a crowd.
type row struct {
	dialler dialler
	clients []client
	crowd   *crowd

	opening, pinging *countdown // the crowd's at present
}

// The owner of every client of a row.
func (r *row) opened(c client) {
	r.clients = append(r.clients, c)
	r.dialler.next()
	r.opening.Done()
}
func (r *row) ponged()          { r.pinging.Done() }
func (r *row) failed(err error) { r.crowd.fail(err) }
func (r *row) acked(uint64)     { r.crowd.fail(fmt.Errorf("an ack of a message that nobody sent")) }
func (r *row) delivered([]byte) { r.crowd.fail(fmt.Errorf("a message came that nobody sent")) }

// footprint is what sessions cost a server in resident memory.
type footprint struct {
	Sessions int     `json:"sessions"`
	Bytes    float64 `json:"rss_bytes_per_session"`
	// Total is the server's, in bytes.
	Total int64 `json:"rss_bytes"`
}

// idle measures a server's memory with each of the given numbers of sessions,
// which rise. Each session has answered a ping at the end.
func idle(ctx context.Context, s *server, sessions []int) ([]footprint, error) {
	f, err := fleet.New(loops)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c := &crowd{server: s, fleet: f, run: runs.Add(1), fail: fail, rows: map[*fleet.Loop]*row{}}
	for _, l := range f.Loops() {
		c.rows[l] = &row{crowd: c, dialler: dialler{loop: l, server: s, failed: fail}}
	}
	before, err := settledMemory(ctx, s.PID())
	if err != nil {
		return nil, err
	}
	var measured []footprint
	for _, n := range sessions {
		if err := c.grow(ctx, n); err != nil {
			return nil, err
		}
		total, err := settledMemory(ctx, s.PID())
		if err != nil {
			return nil, err
		}
		if err := c.ping(ctx); err != nil {
			return nil, err
		}
		measured = append(measured, footprint{Sessions: n, Bytes: float64(total-before) / float64(n), Total: total})
	}
	return measured, nil
}

// grow adds sessions until there are n.
func (c *crowd) grow(ctx context.Context, n int) error {
	var opening countdown
	opening.start(n - c.users)
	loops := c.fleet.Loops()
	added := map[*fleet.Loop][]dial{}
	for ; c.users < n; c.users++ {
		l := loops[c.users%len(loops)]
		user := fmt.Sprintf("r%d-u%d", c.run, c.users)
		added[l] = append(added[l], dial{link: link{user: user, receives: true}, source: source(c.users), owner: c.rows[l]})
	}
	c.fleet.Each(func(l *fleet.Loop) {
		r := c.rows[l]
		r.opening = &opening
		r.dialler.waiting = added[l]
		r.dialler.start()
	})
	return opening.wait(ctx, openTimeout, "sessions were not open")
}

// ping has every session answer.
func (c *crowd) ping(ctx context.Context) error {
	var pinging countdown
	pinging.start(c.users)
	c.fleet.Each(func(l *fleet.Loop) {
		c.rows[l].pinging = &pinging
		for _, each := range c.rows[l].clients {
			each.Ping()
		}
	})
	return pinging.wait(ctx, patience, "sessions did not answer a ping")
}

// settledMemory is a process's resident memory once it has not fallen, by more
// than a hundredth, for 3 s; or after 15 s. A runtime gives back what a burst
// took only some time later.
func settledMemory(ctx context.Context, pid int) (int64, error) {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	start := time.Now()
	lowest, since := int64(0), start
	for {
		now := time.Now()
		rss, err := residentBytes(pid)
		if err != nil {
			return 0, err
		}
		if lowest == 0 || rss < lowest-lowest/100 {
			lowest, since = rss, now
		}
		if now.Sub(since) > 3*time.Second || now.Sub(start) > 15*time.Second {
			return rss, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
