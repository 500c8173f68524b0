package bench

import (
	"fmt"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
)

// pair is a sender and its receiver, both on one loop, so on one clock.
type pair struct {
	loop     *directLoop
	sender   *client.Device
	receiver *client.Device
	inbox    *client.Inbox
	draft    *client.Draft

	firstRequest uint32 // the request id of the message with count 0
	firstSeq     uint64 // its seq

	sent      uint32 // messages that were sent; the next one's count
	acked     uint32 // those before were all acked
	delivered uint32
	// due holds, by count modulo the window, when a message that is not acked
	// was meant to leave; acked where there is none.
	due []time.Duration
	// backlog holds when the messages were meant to leave for which the window
	// has no room. It is filled at a set rate only.
	backlog []time.Duration
}

// isAcked stands in pair.due for no message.
const isAcked time.Duration = -1

// room reports whether the window takes another message. A message takes a
// place until it is both acked and delivered.
func (p *pair) room() bool {
	window := uint32(len(p.due))
	return p.sent-p.acked < window && p.sent-p.delivered < window
}

// fill sends what may be sent.
func (p *pair) fill(now time.Duration) {
	switch l := p.loop; {
	case !l.sending:
	case l.open:
		n := 0
		for ; n < len(p.backlog) && p.room(); n++ {
			p.send(now, p.backlog[n])
		}
		p.backlog = p.backlog[:copy(p.backlog, p.backlog[n:])]
	default:
		for now < l.until && p.room() {
			p.send(now, now)
		}
	}
}

// arrive is a message that is meant to leave at due, which is now or has passed.
func (p *pair) arrive(now, due time.Duration) {
	if len(p.backlog) == 0 && p.room() {
		p.send(now, due)
	} else {
		p.backlog = append(p.backlog, due)
	}
}

func (p *pair) send(now, due time.Duration) {
	p.due[p.sent%uint32(len(p.due))] = due
	p.sender.Wrote(p.draft.Append(p.sender.Buffer(), p.sender.NextRequest(), p.sent, due), now)
	p.sent++
	p.loop.underWay += 2 // an ack and a delivery are to come
	p.loop.sent.Add(1)
}

// ack takes the answer to a SEND.
func (p *pair) ack(f protocol.Frame) error {
	if err := client.Expect(f, protocol.TypeSent); err != nil {
		return fmt.Errorf("%s: SEND: %w", p.sender.User, err)
	}
	var s client.Sent
	if err := s.Parse(f.Body); err != nil {
		return err
	}
	count := f.Request - p.firstRequest
	slot := &p.due[count%uint32(len(p.due))]
	switch {
	case count-p.acked >= p.sent-p.acked || *slot == isAcked:
		return broken("%s: an ack came for request %d, which is not unanswered", p.sender.User, f.Request)
	case s.Seq != p.firstSeq+uint64(count):
		return broken("%s: message %d was acked with seq %d instead of %d", p.sender.User, count, s.Seq, p.firstSeq+uint64(count))
	case s.Duplicate:
		return broken("%s: message %d was acked as a duplicate", p.sender.User, count)
	}
	now := p.sender.Now()
	p.loop.onAck(now, *slot)
	*slot = isAcked
	for p.acked < p.sent && p.due[p.acked%uint32(len(p.due))] == isAcked {
		p.acked++
	}
	p.fill(now)
	p.loop.checkDrained()
	return nil
}

// deliver takes a message that the inbox found good.
func (p *pair) deliver(_ *client.Conversation, got client.Delivery) {
	p.delivered++
	now := p.receiver.Now()
	p.loop.onDelivery(now, got)
	p.fill(now)
	p.loop.checkDrained()
}

// begin is called once both are connected and the conversation's head is known.
func (p *pair) begin(c *client.Conversation) {
	p.firstSeq = c.Next
	p.firstRequest = p.sender.NextRequest() + 1
	p.loop.ready()
}

// sending and receiving are the pair's two ends as handlers.
type (
	sending   struct{ *pair }
	receiving struct{ *pair }
)

func (s sending) OnConnected(d *client.Device) { s.connected(d) }

func (s sending) OnFrame(_ *client.Device, f protocol.Frame) error {
	if f.Type == protocol.TypeReceipt {
		return nil
	}
	return s.ack(f)
}

func (s sending) OnClosed(d *client.Device, err error) { s.loop.lost(d, err) }

func (r receiving) OnConnected(d *client.Device) { r.connected(d) }

func (r receiving) OnFrame(_ *client.Device, f protocol.Frame) error {
	taken, err := r.inbox.OnFrame(f)
	if !taken {
		return client.Expect(f, protocol.TypeMessage)
	}
	return err
}

func (r receiving) OnClosed(d *client.Device, err error) { r.loop.lost(d, err) }

func (p *pair) connected(d *client.Device) {
	p.loop.accepted(d)
	if !p.sender.IsConnected() || !p.receiver.IsConnected() {
		return
	}
	if most := p.sender.Accepted.MaxInFlight; most > 0 && len(p.due) > int(most) {
		p.loop.worker.load.fail(fmt.Errorf("bench: a window of %d, where the server allows %d requests in flight", len(p.due), most))
		return
	}
	p.inbox.Follow(p.sender.User, p.begin)
}
