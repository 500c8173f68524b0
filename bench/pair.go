package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const (
	// Every body begins with the sender's count and clock, 8 bytes each.
	stampSize = 16
	// pairHeartbeat is what a pair proposes; a receiver, which has nothing else
	// to say, pings in half of what it is given.
	pairHeartbeat = time.Minute
	// drainTimeout is how long the last messages of a run may take.
	drainTimeout = 15 * time.Second
)

// pair is a sender and its receiver. Three goroutines work on it: send, which
// writes; readAcks, which reads the sender's connection; and receive, which
// has the receiver's connection to itself.
type pair struct {
	run          *directRun
	conversation string
	sender       *conn
	receiver     *conn

	// A message takes a slot of both when it is sent; its ack gives back one,
	// its delivery the other.
	unacked, undelivered chan struct{}
	// finished is set when everything was acked and delivered, before the
	// readers are woken.
	finished atomic.Bool

	// times is send's clock for the messages that are not acked, by their
	// number modulo the window; a slot of unacked passes from send to readAcks
	// and back with it.
	times []time.Duration

	ack *hdrhistogram.Histogram // readAcks

	// receive
	delivery *hdrhistogram.Histogram
	next     uint64 // the seq that is due
	count    uint64 // messages received
	pulling  bool   // a PULL is unanswered
	pulledTo uint64 // the last seq that came by a pull
	pulled   int64
	pinged   time.Duration
}

func (run *directRun) newPair(ctx context.Context, i int) (*pair, error) {
	from, to := "bench-from-"+strconv.Itoa(i), "bench-to-"+strconv.Itoa(i)
	p := &pair{
		run:          run,
		conversation: protocol.DirectID(from, to),
		unacked:      make(chan struct{}, run.cfg.Window),
		undelivered:  make(chan struct{}, run.cfg.Window),
		times:        make([]time.Duration, run.cfg.Window),
		ack:          newHistogram(),
		delivery:     newHistogram(),
	}
	err := p.connect(ctx, from, to)
	if err != nil {
		p.close()
	}
	return p, err
}

func (p *pair) connect(ctx context.Context, from, to string) (err error) {
	if p.sender, err = p.run.cfg.connect(ctx, nil, from, pairHeartbeat); err != nil {
		return err
	}
	if p.receiver, err = p.run.cfg.connect(ctx, nil, to, pairHeartbeat); err != nil {
		return err
	}
	head, err := p.head()
	p.next = head + 1
	return err
}

// close may be called from any goroutine, and more than once.
func (p *pair) close() {
	if p == nil {
		return
	}
	for _, c := range []*conn{p.sender, p.receiver} {
		if c != nil {
			c.Close()
		}
	}
}

// head is the conversation's newest seq: an earlier run may have left some.
func (p *pair) head() (uint64, error) {
	c := p.receiver
	if err := c.w.WriteProto(protocol.TypePull, 1, &pb.Pull{Conversation: p.conversation, Backward: true, Limit: 1}); err != nil {
		return 0, err
	}
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	f, err := c.r.ReadFrame()
	if err != nil {
		return 0, err
	}
	if err := expect(f, protocol.TypePulled); err != nil {
		if protocol.CodeOf(err) == pb.Code_CODE_NOT_A_MEMBER {
			return 0, nil // it does not exist yet
		}
		return 0, err
	}
	var pulled pb.Pulled
	err = protocol.Decode(f, &pulled)
	return pulled.HeadSeq, err
}

// send writes until the time is up, and ends when all of it has arrived.
func (p *pair) send(ctx context.Context) error {
	body := make([]byte, p.run.cfg.Size)
	prefix := strconv.FormatInt(time.Now().UnixNano(), 36) + "-" // no run repeats another's ids
	m := pb.Send{Conversation: p.conversation, Kind: pb.Kind_KIND_CUSTOM, ContentType: "application/octet-stream", Body: body}
	for n := uint64(0); ; n++ {
		if err := p.take(ctx); err != nil {
			return err
		}
		now := p.run.now()
		if now >= p.run.until {
			<-p.unacked
			<-p.undelivered
			return p.drain(ctx)
		}
		binary.BigEndian.PutUint64(body, n)
		binary.BigEndian.PutUint64(body[8:], uint64(now))
		m.ClientId = prefix + strconv.FormatUint(n, 36)
		p.times[n%uint64(len(p.times))] = now
		if err := p.sender.w.WriteProto(protocol.TypeSend, request(n), &m); err != nil {
			return err
		}
	}
}

// request is the request id of the nth message, n from 0.
func request(n uint64) uint32 { return uint32(n%(1<<31)) + 1 }

// take gets a slot of both windows; before it waits, it flushes what is
// written.
func (p *pair) take(ctx context.Context) error {
	for _, slots := range []chan struct{}{p.unacked, p.undelivered} {
		select {
		case slots <- struct{}{}:
			continue
		default:
		}
		if err := p.sender.w.Flush(); err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// drain waits until every slot is free, then ends the readers.
func (p *pair) drain(ctx context.Context) error {
	if err := p.sender.w.Flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, drainTimeout, fmt.Errorf("%s: messages are missing after %v", p.conversation, drainTimeout))
	defer cancel()
	for _, slots := range []chan struct{}{p.unacked, p.undelivered} {
		for range cap(slots) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	p.finished.Store(true)
	past := time.Unix(1, 0)
	return errors.Join(p.sender.SetReadDeadline(past), p.receiver.SetReadDeadline(past))
}

// readAcks checks that the answers come in the order of the requests.
func (p *pair) readAcks() error {
	for n := uint64(0); ; {
		f, err := p.sender.r.ReadFrame()
		if err != nil {
			if p.finished.Load() {
				return nil
			}
			return fmt.Errorf("%s, acks: %w", p.conversation, err)
		}
		if f.Type == protocol.TypeReceipt {
			continue
		}
		if err := expect(f, protocol.TypeSent); err != nil {
			return fmt.Errorf("%s: %w", p.conversation, err)
		}
		if f.Request != request(n) {
			return fmt.Errorf("%s: the ack of request %d came where that of %d was due", p.conversation, f.Request, request(n))
		}
		sent := p.times[n%uint64(len(p.times))]
		if p.run.measured(sent) {
			record(p.ack, p.run.now()-sent)
		}
		n++
		<-p.unacked
	}
}

// receive checks that every message comes once and in order, by push or, where
// the server found this receiver slow, by pull.
func (p *pair) receive() error {
	for {
		f, err := p.receiver.r.ReadFrame()
		if err == nil {
			err = p.handle(f)
		}
		if err == nil {
			err = p.ping()
		}
		if err != nil {
			if p.finished.Load() {
				return nil
			}
			return fmt.Errorf("%s, messages: %w", p.conversation, err)
		}
	}
}

func (p *pair) handle(f protocol.Frame) error {
	switch f.Type {
	case protocol.TypePong, protocol.TypeReceipt:
		return nil
	case protocol.TypeHeads:
		return p.pull()
	case protocol.TypePulled:
		var page pb.Pulled
		if err := protocol.Decode(f, &page); err != nil {
			return err
		}
		for _, m := range page.Messages {
			if m.Seq < p.next {
				continue // pushed while the PULL was on its way
			}
			if err := p.accept(m); err != nil {
				return err
			}
			p.pulledTo = m.Seq
			p.pulled++
		}
		p.pulling = false
		if page.More {
			return p.pull()
		}
		return nil
	}
	if err := expect(f, protocol.TypeMessage); err != nil {
		return err
	}
	var m pb.Message
	if err := protocol.Decode(f, &m); err != nil {
		return err
	}
	switch {
	case m.Seq > p.next:
		return p.pull()
	case m.Seq <= p.pulledTo:
		return nil // pulled before its push was read
	}
	return p.accept(&m)
}

func (p *pair) accept(m *pb.Message) error {
	if m.Seq != p.next {
		return fmt.Errorf("seq %d came where %d was due", m.Seq, p.next)
	}
	if len(m.Body) != p.run.cfg.Size || binary.BigEndian.Uint64(m.Body) != p.count {
		return fmt.Errorf("seq %d does not have the body of message %d", m.Seq, p.count)
	}
	p.next++
	p.count++
	p.run.received.Add(1)
	if sent := time.Duration(binary.BigEndian.Uint64(m.Body[8:])); p.run.measured(sent) {
		record(p.delivery, p.run.now()-sent)
	}
	<-p.undelivered
	return nil
}

func (p *pair) pull() error {
	if p.pulling {
		return nil
	}
	p.pulling = true
	if err := p.receiver.w.WriteProto(protocol.TypePull, 1, &pb.Pull{Conversation: p.conversation, From: p.next}); err != nil {
		return err
	}
	return p.receiver.w.Flush()
}

func (p *pair) ping() error {
	now := p.run.now()
	if now-p.pinged < time.Duration(p.receiver.accepted.HeartbeatMs)*time.Millisecond/2 {
		return nil
	}
	p.pinged = now
	if err := p.receiver.w.WriteFrame(protocol.TypePing, 2, nil); err != nil {
		return err
	}
	return p.receiver.w.Flush()
}
