package netpoll

import (
	"sync"

	"github.com/panjf2000/gnet/v2"
)

const (
	// handOver is how much gnet's own buffer may hold, in bytes, but for a
	// single frame that is larger.
	handOver = 64 << 10
	// maxBatch bounds the frames of one write.
	maxBatch = 1024
	// frameOverhead is what a queued frame is charged beyond its bytes, so that
	// the cap bounds memory for tiny frames too: a slice header and the
	// allocator's rounding.
	frameOverhead = 32
)

// queue holds a connection's frames that gnet has not got yet. The mutex of
// its connection guards it. A nil queue is empty.
type queue struct {
	frames     [][]byte
	bytes      int // of frames, with the charge for each
	taken      int // frames[:taken] are being handed over by the loop
	takenBytes int // of these, with the charge
}

// queues recycles them: an idle connection has none.
var queues = sync.Pool{New: func() any { return &queue{frames: make([][]byte, 0, 8)} }}

func (q *queue) size() int {
	if q == nil {
		return 0
	}
	return q.bytes
}

func (q *queue) push(frame []byte) {
	q.frames = append(q.frames, frame)
	q.bytes += len(frame) + frameOverhead
}

// take appends the first frames to batch, as many as are at most room bytes
// together, but at least one if alone is set, and returns their bytes. They
// stay in the queue, and in its size, until forget.
func (q *queue) take(batch [][]byte, room int, alone bool) ([][]byte, int) {
	n := 0
	if q == nil {
		return batch, n
	}
	for _, f := range q.frames {
		if len(batch) == maxBatch || n+len(f) > room && (n > 0 || !alone) {
			break
		}
		batch = append(batch, f)
		n += len(f)
	}
	q.taken, q.takenBytes = len(batch), n+len(batch)*frameOverhead
	return batch, n
}

// forget removes what was taken.
func (q *queue) forget() {
	if q == nil || q.taken == 0 {
		return
	}
	rest := copy(q.frames, q.frames[q.taken:])
	clear(q.frames[rest:])
	q.frames = q.frames[:rest]
	q.bytes -= q.takenBytes
	q.taken, q.takenBytes = 0, 0
}

// truncate removes all but what was taken.
func (q *queue) truncate() {
	if q == nil {
		return
	}
	clear(q.frames[q.taken:])
	q.frames = q.frames[:q.taken]
	q.bytes = q.takenBytes
}

// release empties q and hands it back. A long vector is left to the garbage
// collector.
func (q *queue) release() {
	if cap(q.frames) > maxBatch {
		return
	}
	clear(q.frames)
	*q = queue{frames: q.frames[:0]}
	queues.Put(q)
}

// flush hands queued frames to gnet as far as its buffer has room, on the
// loop, and then does what follows from the state reached.
func (c *Conn) flush() {
	c.scheduled.Store(false)
	if c.phase != phaseOpen {
		return
	}
	l, s := c.loop, c.loop.s
	expected, moved := c.buffered, false
	for {
		buffered := c.gc.OutboundBuffered()
		moved = moved || buffered < expected
		c.mu.Lock()
		c.buffered = buffered
		c.queue.forget()
		var n int
		if l.batch, n = c.queue.take(l.batch[:0], handOver-buffered, buffered == 0); n == 0 {
			break
		}
		c.mu.Unlock()
		l.write(c.gc, n)
		if c.phase != phaseOpen {
			return // the write failed, and gnet has closed the connection
		}
		expected = buffered + n
	}
	if c.queue != nil && c.queue.bytes == 0 {
		c.queue.release()
		c.queue = nil
	}
	waiting := c.outbound()
	drained := c.lagging && waiting <= s.cfg.Lag/2
	if drained {
		c.lagging = false
	}
	closing := c.closing.Load()
	c.mu.Unlock()

	switch {
	case waiting > 0:
		if moved || !c.watched {
			c.moved = s.elapsed()
		}
		l.watch(c)
	case closing:
		c.finish()
	}
	if drained && !closing {
		s.handler.OnDrained(c)
	}
}

// write hands the n bytes of l.batch to gnet. Several frames are copied
// together first: that is cheaper than a vector of them (ADR 0002). gnet copies
// what the socket doesn't take. A failure closes the connection.
func (l *loop) write(gc gnet.Conn, n int) {
	l.tally.writes.Add(1)
	l.tally.framesOut.Add(uint64(len(l.batch)))
	l.tally.bytesOut.Add(uint64(n))
	out := l.batch[0]
	if len(l.batch) > 1 {
		out = l.scratch[:0]
		for _, f := range l.batch {
			out = append(out, f...)
		}
	}
	clear(l.batch)
	_, _ = gc.Write(out)
}
