package journal

import (
	"fmt"
	"maps"
	"slices"
)

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
		c.confirmed(j)
	}
	for _, j := range journals {
		c.judge(j)
	}
	for _, id := range slices.Sorted(maps.Keys(c.conversations)) { // the same journals give the same report
		c.judgeWhole(id, c.conversations[id])
		c.judgeInvitations(id, c.conversations[id])
		c.judgeRows(id, c.conversations[id])
	}
	return c.report
}

// name is what a sender calls a message within a conversation. A notice in a
// group has none, one in a user's own feed has the server's.
type name struct{ sender, clientID string }

// record is what is known about the message at one seq.
type record struct {
	name
	kind   MessageKind
	target uint64
	body   string // as it was sent; "" while it is not known
	id     uint64
	timeMs int64
	by     string // the client that said so first
	acked  bool
	// expires is when its time is over; 0 for never, and for events, of which it
	// is when their target's is.
	expires int64

	notice, actor, users, about string
}

type conversation struct {
	history string // of a group
	sent    map[name]Entry
	refused map[name]Entry
	asked   map[request]bool
	records map[uint64]*record
	seqs    map[name]uint64
	readers map[string]*reader
	claims  []claim
	done    []done
	states  map[uint64][]state // of messages, one for each version, made by replay
	rows    map[rowKey]*row
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
			sent:    map[name]Entry{},
			refused: map[name]Entry{},
			asked:   map[request]bool{},
			records: map[uint64]*record{},
			seqs:    map[name]uint64{},
			readers: map[string]*reader{},
			rows:    map[rowKey]*row{},
		}
		c.conversations[id] = conv
		c.report.Conversations++
	}
	return conv
}

func (c *checker) violation(kind Kind, conversation, format string, args ...any) {
	c.report.Violations = append(c.report.Violations, Violation{kind, conversation, fmt.Sprintf(format, args...)})
}

// learn collects what was sent and asked for, so that read can tell a phantom.
func (c *checker) learn(j *Journal) {
	for _, e := range j.Entries {
		if e.Conversation == "" {
			continue
		}
		conv, n := c.conversation(e.Conversation), name{j.User, e.ClientID}
		switch e.Op {
		case OpOpen:
			conv.history = e.History
		case OpSend:
			conv.sent[n] = e
			c.report.Sent++
		case OpRefuse:
			conv.refused[n] = e
		case OpAsk:
			conv.asked[request{e.Notice, j.User, e.Users}] = true
		}
	}
	c.learnRows(j)
}

// read places everything that one client was told.
func (c *checker) read(j *Journal) {
	quiet, began := false, int64(0)
	for _, e := range j.Entries {
		switch e.Op {
		case OpQuiet:
			quiet = true
			continue
		case OpLive:
			began = e.At
			continue
		}
		conv := c.conversation(e.Conversation)
		switch e.Op {
		case OpOpen:
			conv.reader(j)
		case OpAck:
			c.acked(j, e)
		case OpWire:
			r := conv.reader(j)
			r.wire = append(r.wire, e.Seq)
		case OpSkip:
			r := conv.reader(j)
			if _, cleared := conv.row(j.User, RowCleared).seqs[e.Seq-1]; e.Seq != r.last+1 && !cleared {
				c.violation(Gap, e.Conversation, "%s was told to skip seq %d to %d after %d", j.Name(), e.Seq, e.To, r.last)
			}
			r.jump(e.To+1, true)
			r.last = max(r.last, e.To)
		case OpLapse:
			conv.reader(j).lapse(e)
		case OpReceive:
			c.report.Received++
			r := conv.reader(j)
			switch {
			case e.Seq <= r.last:
				c.violation(Repeated, e.Conversation, "%s was handed seq %d after %d", j.Name(), e.Seq, r.last)
			case e.Seq > r.last+1:
				r.jump(e.Seq, false)
			}
			r.last = max(r.last, e.Seq)
			r.take(e, quiet, began)
			c.phantom(j, e)
			c.place(j, e)
		}
	}
}

// acked takes an ack, but for those of reactions: what these are of can only be
// told when everything is known.
func (c *checker) acked(j *Journal, e Entry) {
	conv := c.conversation(e.Conversation)
	sent := conv.sent[name{j.User, e.ClientID}]
	if sent.Kind == KindReact || sent.Kind == KindUnreact {
		return
	}
	e.Sender, e.Kind, e.Target, e.Expires = j.User, sent.Kind, sent.Target, sent.expires(e.TimeMs)
	if c.place(j, e) && !conv.records[e.Seq].acked {
		conv.records[e.Seq].acked = true
		c.report.Acked++
	}
}

func (c *checker) phantom(j *Journal, e Entry) {
	conv := c.conversation(e.Conversation)
	if e.Kind == KindNotice {
		if e.About != "" {
			conv = c.conversation(e.About)
		}
		if e.isOfContacts() {
			return // see judgeContact
		}
		if !conv.wasAsked(e) {
			c.violation(Phantom, e.Conversation, "%s was handed seq %d, which says that %s has %s %s, and that was never asked", j.Name(), e.Seq, e.Actor, e.Notice, e.Users)
		}
		return
	}
	sent, found := conv.sent[name{e.Sender, e.ClientID}]
	switch {
	case !found:
		c.violation(Phantom, e.Conversation, "%s was handed seq %d, %s of %s, which was never sent", j.Name(), e.Seq, e.ClientID, e.Sender)
	case sent.Kind != e.Kind || sent.Target != e.Target:
		c.violation(Phantom, e.Conversation, "%s was handed seq %d, %s of %s, as %s %d, but %s %d was sent", j.Name(), e.Seq, e.ClientID, e.Sender, e.Kind, e.Target, sent.Kind, sent.Target)
	case e.Expires != sent.expires(e.TimeMs):
		c.violation(Phantom, e.Conversation, "%s was handed seq %d, %s of %s, to expire at %d, but it was sent at %d to live for %d", j.Name(), e.Seq, e.ClientID, e.Sender, e.Expires, e.TimeMs, sent.TTL)
	case e.asSent() && sent.Mentions != e.Mentions:
		c.violation(Phantom, e.Conversation, "%s was handed seq %d, %s of %s, as mentioning %q, but it was sent with %q", j.Name(), e.Seq, e.ClientID, e.Sender, e.Mentions, sent.Mentions)
	case e.asSent() && sent.Body != e.Body:
		c.violation(Phantom, e.Conversation, "%s was handed seq %d, %s of %s, with another body than was sent", j.Name(), e.Seq, e.ClientID, e.Sender)
	}
}

// asSent reports whether a message was handed with the body that it was sent
// with: no event has given it another one, or taken it.
func (e *Entry) asSent() bool { return e.Version == 0 && !e.Gone }

// expires is when a message is over that was sent as e and is stored at a time.
func (e *Entry) expires(timeMs int64) int64 {
	if e.TTL == 0 {
		return 0
	}
	return timeMs + e.TTL
}

// place puts an ack or a received message at its seq, and reports whether it
// agrees with what is known there.
func (c *checker) place(j *Journal, e Entry) bool {
	conv := c.conversation(e.Conversation)
	n := name{e.Sender, e.ClientID}
	if n != (name{}) {
		if seq, known := conv.seqs[n]; known && seq != e.Seq {
			c.violation(Doubled, e.Conversation, "%s of %s is at seq %d and, for %s, at %d", e.ClientID, e.Sender, seq, j.Name(), e.Seq)
		} else {
			conv.seqs[n] = e.Seq
		}
	}
	if !e.asSent() {
		e.Body = ""
	}
	r := conv.records[e.Seq]
	if r == nil {
		conv.records[e.Seq] = &record{
			name: n, kind: e.Kind, target: e.Target, body: e.Body, id: e.ID, timeMs: e.TimeMs, by: j.Name(), expires: e.Expires,
			notice: e.Notice, actor: e.Actor, users: e.Users, about: e.About,
		}
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
	if r.name != n || r.kind != e.Kind || r.target != e.Target || r.id != e.ID || r.timeMs != e.TimeMs || (e.Body != "" && r.body != e.Body) ||
		r.notice != e.Notice || r.actor != e.Actor || r.users != e.Users || r.about != e.About {
		c.violation(Forked, e.Conversation, "seq %d is %s of %s (%s %d, id %d, time %d) for %s, but %s of %s (%s %d, id %d, time %d) for %s",
			e.Seq, r.clientID, r.sender, r.kind, r.target, r.id, r.timeMs, r.by, e.ClientID, e.Sender, e.Kind, e.Target, e.ID, e.TimeMs, j.Name())
		return false
	}
	return true
}

// judge checks that a client's own messages stand in the order of sending, and
// that what was refused does not stand anywhere.
func (c *checker) judge(j *Journal) {
	last := map[string]Entry{}
	for _, e := range j.Entries {
		if e.Op != OpSend {
			continue
		}
		conv, n := c.conversation(e.Conversation), name{j.User, e.ClientID}
		seq, stored := conv.seqs[n]
		if !stored {
			continue // never acked and never seen: it may be missing
		}
		if refused, was := conv.refused[n]; was {
			c.violation(Stored, e.Conversation, "%s of %s was refused as %s and is at seq %d", e.ClientID, j.User, refused.Code, seq)
		}
		if before := last[e.Conversation]; seq <= before.Seq {
			c.violation(SenderOrder, e.Conversation, "%s sent %s before %s, but they are at seqs %d and %d", j.Name(), before.ClientID, e.ClientID, before.Seq, seq)
		}
		e.Seq = seq
		last[e.Conversation] = e
	}
}

// judgeWhole checks a conversation from seq 1 to its head, and that every reader
// has all of it that they may read, as it is.
func (c *checker) judgeWhole(id string, conv *conversation) {
	seqs := slices.Sorted(maps.Keys(conv.records))
	conv.replay(seqs)
	var before uint64
	var timeMs int64
	for _, seq := range seqs {
		if seq != before+1 {
			c.violation(Gap, id, "nobody has a seq between %d and %d", before, seq)
		}
		before = seq
		r := conv.records[seq]
		c.report.Stored++
		switch {
		case r.kind.isEvent():
			c.report.Events++
		case r.kind == KindNotice:
			c.report.Notices++
		}
		if r.timeMs < timeMs {
			c.violation(TimeBackwards, id, "seq %d has time %d, the one before %d", seq, r.timeMs, timeMs)
		}
		timeMs = r.timeMs
		if len(conv.readers) == 0 {
			c.violation(r.missing(), id, "seq %d, %s of %s: the conversation has no reader", seq, r.clientID, r.sender)
		}
	}
	c.judgeConfirmed(id, conv)
	spans := conv.spans(seqs)
	for _, name := range slices.Sorted(maps.Keys(conv.readers)) {
		c.judgeReader(id, conv, seqs, conv.readers[name], spans)
	}
}

// missing is what it is if a reader does not have r.
func (r *record) missing() Kind {
	if r.acked {
		return Lost
	}
	return Incomplete
}
