package bench

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
)

// ConnectShare is what a worker holds of a crowd.
type ConnectShare struct {
	First, Users int
	Loops        int
	PerSecond    float64
	Heartbeat    time.Duration
}

// ConnectWorker carries out its share of a connect run; see ServeWorker. Its
// exported methods are called by the process that leads.
type ConnectWorker struct {
	ctx    context.Context
	target Target

	load      atomic.Pointer[load] // nil until Ramp
	handshake *report.Histogram
	started   *countdown
	connected atomic.Int64
	alive     atomic.Pointer[countdown] // while PONGs are awaited
}

// Ramp connects the share, and returns when all of it is there.
func (w *ConnectWorker) Ramp(share ConnectShare, _ *struct{}) error {
	l, err := startLoad(w.ctx, &w.target, share.Loops, share.Users, share.Heartbeat)
	if err != nil {
		return err
	}
	w.handshake, w.started = report.NewHistogram("handshake"), newCountdown(share.Users)
	w.load.Store(l)
	l.each(func(i int, p *client.Pool) {
		first, n := split(share.Users, share.Loops, i)
		s := silent{w, w.handshake.Recorder()}
		devices := make([]*client.Device, n)
		for k := range devices {
			devices[k] = p.Add(userName(idleUsers+share.First+first+k), deviceName, s)
		}
		pace(p.Loop(), share.PerSecond/float64(share.Loops), n, func(k int) { devices[k].Connect() })
	})
	return l.wait(w.started)
}

// silent is a session that is only there.
type silent struct {
	worker    *ConnectWorker
	handshake *report.Recorder
}

func (s silent) OnConnected(d *client.Device) {
	s.handshake.Record(d.Now() - d.Dialled())
	s.worker.connected.Add(1)
	s.worker.started.done()
}

func (s silent) OnFrame(_ *client.Device, f protocol.Frame) error {
	alive := s.worker.alive.Load()
	if f.Type == protocol.TypePong && alive != nil {
		alive.done()
		return nil
	}
	return client.Expect(f, protocol.TypePong)
}

func (s silent) OnClosed(d *client.Device, err error) { s.worker.load.Load().lost(d, err) }

// Sample tells what was seen so far.
func (w *ConnectWorker) Sample(_ struct{}, s *Sample) error {
	l := w.load.Load()
	if l == nil {
		return nil
	}
	if err := s.failed(l.failure()); err != nil || s.Violations != nil {
		return err
	}
	s.Connected, s.Refused = w.connected.Load(), l.refused()
	return drain(w.handshake, &s.Handshake)
}

// aliveTimeout is how long all sessions together may take to answer a PING.
const aliveTimeout = 2 * time.Minute

// Ping has every session answer a PING, and returns how many did.
func (w *ConnectWorker) Ping(_ struct{}, alive *int64) error {
	l := w.load.Load()
	if l == nil {
		return errors.New("not connected")
	}
	devices := int64(0)
	for _, p := range l.pools {
		devices += int64(len(p.Devices()))
	}
	pongs := newCountdown(int(devices))
	w.alive.Store(pongs)
	l.each(func(_ int, p *client.Pool) {
		for _, d := range p.Devices() {
			if d.IsConnected() {
				d.Request(protocol.TypePing, nil)
			}
		}
	})
	select {
	case <-pongs.zero:
	case <-l.ctx.Done():
	case <-time.After(aliveTimeout):
	}
	*alive = devices - pongs.left.Load()
	return nil
}

func (w *ConnectWorker) close() {
	if l := w.load.Load(); l != nil {
		l.close()
	}
}
