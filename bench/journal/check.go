package journal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind is a way of breaking a promise.
type Kind string

// What Check looks for.
const (
	// Lost: a message was acked, and a reader of its conversation never got it.
	Lost Kind = "lost"
	// Incomplete: a reader never got a message that another reader got.
	Incomplete Kind = "incomplete"
	// Doubled: one client message id of one sender stands at two seqs.
	Doubled Kind = "doubled"
	// Gap: a reader's seqs do not start at 1 or skip one.
	Gap Kind = "gap"
	// Repeated: a reader was handed a seq again, or one below the last.
	Repeated Kind = "repeated"
	// Forked: two clients saw different messages, or different acks, at one seq.
	Forked Kind = "forked"
	// Phantom: a reader got a message that nobody sent, or with another body.
	Phantom Kind = "phantom"
	// SenderOrder: two messages of one client stand in the other order than it
	// sent them.
	SenderOrder Kind = "sender order"
	// TimeBackwards: a message's time is below that of the seq before it.
	TimeBackwards Kind = "time backwards"
	// SharedID: two messages have one server-wide message id.
	SharedID Kind = "shared id"
)

// Violation is one broken promise.
type Violation struct {
	Kind         Kind
	Conversation string
	Detail       string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s in %s: %s", v.Kind, v.Conversation, v.Detail)
}

// Report is the checker's verdict.
type Report struct {
	Clients, Conversations int
	// Sent counts messages, Acked those of them that were acked to their
	// sender, Stored those that have a seq.
	Sent, Acked, Stored int
	// Received counts deliveries: every message once per reader.
	Received   int
	Violations []Violation
}

// Err is nil for a clean report, and otherwise names the first few violations.
func (r *Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	const shown = 10
	var b strings.Builder
	for _, v := range r.Violations[:min(shown, len(r.Violations))] {
		fmt.Fprintf(&b, "\n  %s", v)
	}
	return fmt.Errorf("%d violations:%s", len(r.Violations), &b)
}

func (r *Report) String() string {
	return fmt.Sprintf("%d clients, %d conversations, %d sent, %d acked, %d stored, %d received, %d violations",
		r.Clients, r.Conversations, r.Sent, r.Acked, r.Stored, r.Received, len(r.Violations))
}

// Check judges the journals of all clients of one run, taken after every
// client has caught up. A dump of the server is the journal of one more
// client that came last and read everything.
func Check(journals []*Journal) *Report {
	c := &checker{report: &Report{Clients: len(journals)}, conversations: map[string]*conversation{}, ids: map[uint64]string{}}
	for _, j := range journals {
		c.learn(j)
	}
	for _, j := range journals {
		c.read(j)
	}
	for _, j := range journals {
		c.judge(j)
	}
	c.judgeWhole()
	return c.report
}

// name is what a sender calls a message within a conversation.
type name struct{ sender, clientID string }

// record is what is known about the message at one seq.
type record struct {
	name
	body   string // "" while only the ack is known
	id     uint64
	timeMs int64
	by     string // the client that said so first
	acked  bool
}

type conversation struct {
	sent    map[name]string // → body
	records map[uint64]*record
	seqs    map[name]uint64
	readers map[string]map[uint64]bool
}

type checker struct {
	report        *Report
	conversations map[string]*conversation
	ids           map[uint64]string // message id → where it was seen first
}

func (c *checker) conversation(id string) *conversation {
	conv := c.conversations[id]
	if conv == nil {
		conv = &conversation{
			sent:    map[name]string{},
			records: map[uint64]*record{},
			seqs:    map[name]uint64{},
			readers: map[string]map[uint64]bool{},
		}
		c.conversations[id] = conv
		c.report.Conversations++
	}
	return conv
}

func (c *checker) violation(kind Kind, conversation, format string, args ...any) {
	c.report.Violations = append(c.report.Violations, Violation{kind, conversation, fmt.Sprintf(format, args...)})
}

// learn collects what was sent, so that read can tell a phantom.
func (c *checker) learn(j *Journal) {
	for _, e := range j.Entries {
		if e.Op == OpSend {
			c.conversation(e.Conversation).sent[name{j.User, e.ClientID}] = e.Body
			c.report.Sent++
		}
	}
}

// read places everything that one client was told.
func (c *checker) read(j *Journal) {
	last := map[string]uint64{}
	for _, e := range j.Entries {
		switch e.Op {
		case OpOpen:
			conv := c.conversation(e.Conversation)
			if conv.readers[j.Name()] == nil {
				conv.readers[j.Name()] = map[uint64]bool{}
			}
		case OpAck:
			e.Sender = j.User
			if c.place(j, e) && !c.conversation(e.Conversation).records[e.Seq].acked {
				c.conversation(e.Conversation).records[e.Seq].acked = true
				c.report.Acked++
			}
		case OpReceive:
			c.report.Received++
			conv := c.conversation(e.Conversation)
			if conv.readers[j.Name()] == nil {
				conv.readers[j.Name()] = map[uint64]bool{}
			}
			conv.readers[j.Name()][e.Seq] = true
			switch before := last[e.Conversation]; {
			case e.Seq <= before:
				c.violation(Repeated, e.Conversation, "%s was handed seq %d after %d", j.Name(), e.Seq, before)
			case e.Seq > before+1:
				c.violation(Gap, e.Conversation, "%s was handed seq %d after %d", j.Name(), e.Seq, before)
			}
			last[e.Conversation] = max(last[e.Conversation], e.Seq)
			c.phantom(j, e)
			c.place(j, e)
		}
	}
}

func (c *checker) phantom(j *Journal, e Entry) {
	body, sent := c.conversation(e.Conversation).sent[name{e.Sender, e.ClientID}]
	switch {
	case !sent:
		c.violation(Phantom, e.Conversation, "%s was handed seq %d, %s of %s, which was never sent", j.Name(), e.Seq, e.ClientID, e.Sender)
	case body != e.Body:
		c.violation(Phantom, e.Conversation, "%s was handed seq %d, %s of %s, with another body than was sent", j.Name(), e.Seq, e.ClientID, e.Sender)
	}
}

// place puts an ack or a received message at its seq, and reports whether it
// agrees with what is known there.
func (c *checker) place(j *Journal, e Entry) bool {
	conv := c.conversation(e.Conversation)
	n := name{e.Sender, e.ClientID}
	if seq, known := conv.seqs[n]; known && seq != e.Seq {
		c.violation(Doubled, e.Conversation, "%s of %s is at seq %d and, for %s, at %d", e.ClientID, e.Sender, seq, j.Name(), e.Seq)
	} else {
		conv.seqs[n] = e.Seq
	}
	r := conv.records[e.Seq]
	if r == nil {
		conv.records[e.Seq] = &record{name: n, body: e.Body, id: e.ID, timeMs: e.TimeMs, by: j.Name()}
		where := fmt.Sprintf("%s seq %d", e.Conversation, e.Seq)
		if other, taken := c.ids[e.ID]; taken {
			c.violation(SharedID, e.Conversation, "message id %d is at seq %d and at %s", e.ID, e.Seq, other)
		}
		c.ids[e.ID] = where
		return true
	}
	if r.body == "" {
		r.body = e.Body
	}
	if r.name != n || r.id != e.ID || r.timeMs != e.TimeMs || (e.Body != "" && r.body != e.Body) {
		c.violation(Forked, e.Conversation, "seq %d is %s of %s (id %d, time %d) for %s, but %s of %s (id %d, time %d) for %s",
			e.Seq, r.clientID, r.sender, r.id, r.timeMs, r.by, e.ClientID, e.Sender, e.ID, e.TimeMs, j.Name())
		return false
	}
	return true
}

// judge checks that a client's own messages stand in the order of sending.
func (c *checker) judge(j *Journal) {
	last := map[string]Entry{}
	for _, e := range j.Entries {
		if e.Op != OpSend {
			continue
		}
		seq, stored := c.conversation(e.Conversation).seqs[name{j.User, e.ClientID}]
		if !stored {
			continue // never acked and never seen: it may be missing
		}
		if before := last[e.Conversation]; seq <= before.Seq {
			c.violation(SenderOrder, e.Conversation, "%s sent %s before %s, but they are at seqs %d and %d", j.Name(), before.ClientID, e.ClientID, before.Seq, seq)
		}
		e.Seq = seq
		last[e.Conversation] = e
	}
}

// judgeWhole checks each conversation from seq 1 to its head, and that every
// reader has all of it.
func (c *checker) judgeWhole() {
	for _, id := range slices.Sorted(maps.Keys(c.conversations)) { // the same journals give the same report
		conv := c.conversations[id]
		readers := slices.Sorted(maps.Keys(conv.readers))
		var before uint64
		var timeMs int64
		for _, seq := range slices.Sorted(maps.Keys(conv.records)) {
			if seq != before+1 {
				c.violation(Gap, id, "nobody has a seq between %d and %d", before, seq)
			}
			before = seq
			r := conv.records[seq]
			c.report.Stored++
			if r.timeMs < timeMs {
				c.violation(TimeBackwards, id, "seq %d has time %d, the one before %d", seq, r.timeMs, timeMs)
			}
			timeMs = r.timeMs
			kind := Incomplete
			if r.acked {
				kind = Lost
			}
			if len(readers) == 0 {
				c.violation(kind, id, "seq %d, %s of %s: the conversation has no reader", seq, r.clientID, r.sender)
			}
			for _, reader := range readers {
				if !conv.readers[reader][seq] {
					c.violation(kind, id, "%s never got seq %d, %s of %s", reader, seq, r.clientID, r.sender)
				}
			}
		}
	}
}
