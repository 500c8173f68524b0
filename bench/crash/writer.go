package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

const (
	// A writer sends a burst of up to maxBurst messages, window of them
	// unacked, then rests for up to maxRest.
	window   = 8
	maxBurst = 24
	maxRest  = 200 * time.Millisecond
	maxBody  = 2 << 10 // bytes
	maxTTL   = 3000    // ms, of what is to expire in a run
	// eventShare of what is sent changes one of the last maxRecent messages.
	eventShare = 0.3
	maxRecent  = 12
)

// target is a message that may be edited, recalled or reacted to.
type target struct {
	seq    uint64
	sender string
}

// recent is the last messages of a conversation that a client was handed.
// client.mu guards it.
type recent struct{ targets []target }

func (r *recent) add(t target) {
	r.targets = append(r.targets, t)
	r.targets = r.targets[max(0, len(r.targets)-maxRecent):]
}

// writer writes to one conversation, for one life of a client. There is one for
// a conversation, so the journal has the order of sending.
type writer struct {
	*client
	sdk          *godwit.Client
	conversation string
	recent       *recent
	rng          *rand.Rand
	slots        chan struct{}
}

// write sends bursts until ctx ends or the fleet stops writing.
func (w *writer) write(ctx context.Context, acks *sync.WaitGroup) {
	// Counted before it looks whether to write, so that settle misses nobody.
	w.fleet.writers.Add(1)
	defer w.fleet.writers.Add(-1)
	for w.fleet.writing.Load() {
		for range 1 + w.rng.IntN(maxBurst) {
			if !w.welcome() {
				break
			}
			select {
			case w.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			d := w.draft()
			// With ctx a message could be accepted without a word about it.
			o, err := w.sdk.Send(context.WithoutCancel(ctx), w.conversation, d)
			if errors.Is(err, godwit.ErrClosed) {
				return // by itself, about which live has the word
			}
			if err != nil {
				w.fleet.fail(fmt.Errorf("send: %w", err))
				return
			}
			w.client.write(sendOf(w.conversation, o.ClientID(), &d))
			w.fleet.sent.Add(1)
			acks.Go(func() {
				w.awaitAck(o)
				<-w.slots
			})
		}
		if !rest(ctx, w.rng, maxRest) {
			return
		}
	}
}

// rest waits for a random time up to most, and reports false if ctx ended before.
func rest(ctx context.Context, rng *rand.Rand, most time.Duration) bool {
	select {
	case <-time.After(time.Duration(rng.Int64N(int64(most)))):
		return true
	case <-ctx.Done():
		return false
	}
}

// welcome reports whether the user may write, as far as the client knows.
func (w *writer) welcome() bool {
	if protocol.KindOf(w.conversation) != protocol.Group {
		return true
	}
	c, _ := w.sdk.Conversation(w.conversation)
	if c.Membership.Standing != godwit.StandingActive {
		return false
	}
	n := news() // whose followers try in vain
	return w.conversation != n.id || w.user == n.owner || w.rng.IntN(50) == 0
}

// draft is the next message.
func (w *writer) draft() godwit.Draft {
	if w.rng.Float64() < eventShare {
		if d, ok := w.event(); ok {
			return d
		}
	}
	d := godwit.Draft{Kind: godwit.KindCustom, ContentType: "application/octet-stream", Body: w.body()}
	w.mention(&d)
	switch w.rng.IntN(12) {
	case 0:
		d.TTL = time.Hour // longer than any run
	case 1, 2:
		d.TTL = time.Duration(1+w.rng.IntN(maxTTL)) * time.Millisecond
	}
	return d
}

// mention has a message mention somebody now and then, also by an edit, which may as
// well take a mention back.
func (w *writer) mention(d *godwit.Draft) {
	switch all := strings.HasPrefix(w.conversation, "g:"+w.user+":"); {
	case w.rng.IntN(6) > 0:
	case all && w.rng.IntN(3) == 0:
		d.MentionAll = true
	default:
		d.Mentions = []string{fmt.Sprintf("user%d", w.rng.IntN(users))}
	}
}

func (w *writer) body() []byte {
	body := make([]byte, 1+w.rng.IntN(maxBody))
	for i := range body {
		body[i] = byte(w.rng.Uint32())
	}
	return body
}

// event is one that the user has the right to, by the time of its sending.
func (w *writer) event() (godwit.Draft, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.recent.targets
	if len(all) == 0 {
		return godwit.Draft{}, false
	}
	i := w.rng.IntN(len(all))
	t := all[i]
	own := t.sender == w.user
	switch n := w.rng.IntN(10); {
	case n < 4 && own:
		d := godwit.Draft{Kind: godwit.KindEdit, ContentType: "application/octet-stream", Body: w.body(), Target: t.seq}
		w.mention(&d)
		return d, true
	case n < 6 && (own || strings.HasPrefix(w.conversation, "g:"+w.user+":")):
		w.recent.targets = slices.Delete(all, i, i+1)
		return godwit.Draft{Kind: godwit.KindRecall, Target: t.seq}, true
	}
	key := []string{"+1", "\u2764"}[w.rng.IntN(2)]
	return godwit.Draft{Kind: godwit.KindReaction, Body: []byte(key), Target: t.seq, Remove: w.rng.IntN(3) == 0}, true
}

// awaitAck journals the answer to o, unless the client is closed before it comes.
func (c *client) awaitAck(o *godwit.Outgoing) {
	ack, err := o.Sent(context.Background())
	code := godwit.CodeOf(err)
	switch {
	case errors.Is(err, godwit.ErrClosed):
	case isRefusal(code):
		c.write(journal.Entry{Op: journal.OpRefuse, Conversation: o.Conversation(), ClientID: o.ClientID(), Code: code.Name()})
	case err != nil:
		c.fleet.fail(fmt.Errorf("ack: %w", err))
	default:
		c.write(journal.Entry{
			Op: journal.OpAck, Conversation: o.Conversation(), ClientID: o.ClientID(),
			Seq: ack.Seq, ID: ack.ID, TimeMs: ack.Time.UnixMilli(),
		})
		c.fleet.acked.Add(1)
	}
}
