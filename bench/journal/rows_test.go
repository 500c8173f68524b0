package journal

import (
	"slices"
	"testing"
)

const news = "g:alice:news"

// The journals of keptForOneself, by index.
const (
	alices = iota
	bobs
	carols
	alicesLate
	bobsLate
	carolsLate
)

// at makes a message, or a notice, of what an entry says.
func at(e Entry, conversation string, seq uint64) Entry {
	e.Op, e.Conversation, e.Seq = OpReceive, conversation, seq
	e.ID, e.TimeMs, e.At = seq, 1000+int64(seq), 1400
	switch conversation {
	case news:
		e.ID += 100
	case "s:alice":
		e.ID += 200
	case "s:bob":
		e.ID += 300
	}
	return e
}

// set is a confirmed change of a row.
func set(e Entry) []Entry {
	asked := e
	asked.Op, e.Op = OpSet, OpIsSet
	return []Entry{asked, e}
}

// keptForOneself is a run in which every promise was kept that is about what
// conversations are to their users. alice writes to bob: a2, which expires at
// 1502, and a1 and a4, which mention him; she has cleared up to a1 and he has deleted
// a3. She asked him to be a contact and he accepted. bob followed alice's news up to
// seq 2, carol does.
func keptForOneself() []*Journal {
	texts := []Entry{
		{Sender: "alice", ClientID: "a1", Body: "1", Mentions: "bob"},
		{Sender: "alice", ClientID: "a2", Body: "2", TTL: 500},
		{Sender: "alice", ClientID: "a3", Body: "3"},
		{Sender: "alice", ClientID: "a4", Body: "4", Mentions: "bob"},
	}
	posts := []Entry{
		{Kind: KindNotice, Notice: NoticeCreated, Actor: "alice", Users: "alice"},
		{Sender: "alice", ClientID: "n1", Body: "n1"},
		{Sender: "alice", ClientID: "n2", Body: "n2"},
	}
	var log, sends, feed []Entry
	for i, e := range texts {
		send, m := e, at(e, conv, uint64(i+1))
		send.Op, send.Conversation, send.Sender = OpSend, conv, ""
		sends = append(sends, send, Entry{Op: OpAck, Conversation: conv, ClientID: e.ClientID, Seq: m.Seq, ID: m.ID, TimeMs: m.TimeMs})
		m.Expires, m.TTL = m.expires(m.TimeMs), 0
		log = append(log, m)
	}
	for i, e := range posts {
		feed = append(feed, at(e, news, uint64(i+1)))
		if e.Kind == "" {
			sends = append(sends, Entry{Op: OpSend, Conversation: news, ClientID: e.ClientID, Body: e.Body})
		}
	}
	late := slices.Clone(log)
	late[1].Body, late[1].Gone, late[1].Lapse, late[1].At = "", true, LapseExpired, 5000
	late3 := late[2]
	late3.Body, late3.Gone, late3.Lapse = "", true, LapseDeleted

	open := []Entry{{Op: OpOpen, Conversation: conv}, {Op: OpOpen, Conversation: news, History: HistoryFollow}}
	early := append([]Entry{{Op: OpLive, At: 1000}}, open...)
	quiet := append([]Entry{{Op: OpQuiet}, {Op: OpLive, At: 5000}}, open...)
	final := func(row Row, value string, seq uint64) Entry {
		return Entry{Op: OpRow, Conversation: conv, Row: row, Value: value, Seq: seq}
	}
	contact := final(RowContact, Contact, 0)
	contact.TimeMs = 2100
	follows := Entry{Conversation: news, Row: RowFollows, Value: Following}
	left := Entry{Op: OpRow, Conversation: news, Row: RowFollows, Value: Left, To: 2}
	still := follows
	still.Op = OpRow
	request := Entry{Op: OpSet, Conversation: conv, Row: RowContact, Value: Requested, Body: "hi"}
	requested := at(Entry{Kind: KindNotice, Notice: NoticeRequested, Actor: "alice", Users: "bob", About: conv, Body: "hi", ClientID: "f1"}, "s:bob", 1)
	accepted := at(Entry{Kind: KindNotice, Notice: NoticeAccepted, Actor: "bob", Users: "alice", About: conv, ClientID: "f2"}, "s:alice", 1)

	return []*Journal{
		{User: "alice", Device: "phone", Entries: slices.Concat(early,
			[]Entry{{Op: OpAsk, Conversation: news, Notice: NoticeCreated, Users: "alice"}}, sends, log, feed,
			set(follows),
			set(Entry{Conversation: conv, Row: RowCleared, Seq: 1}),
			[]Entry{
				{Op: OpLapse, Conversation: conv, Seq: 1, Lapse: LapseCleared, At: 1450},
				{Op: OpLapse, Conversation: conv, Seq: 2, Lapse: LapseExpired, At: 1502},
				{Op: OpRow, Conversation: conv, Row: RowRead, User: "bob", Seq: 1},
				request,
				{Op: OpIsSet, Conversation: conv, Row: RowContact, Value: Requested, TimeMs: 2000},
				accepted,
			},
		)},
		{User: "bob", Device: "phone", Entries: slices.Concat(early, log, feed[:2],
			set(Entry{Conversation: conv, Row: RowSettings, Value: "first"}),
			set(Entry{Conversation: conv, Row: RowSettings, Value: "second"}),
			[]Entry{{Op: OpSet, Conversation: conv, Row: RowSettings, Value: "third"}},
			set(Entry{Conversation: conv, Row: RowDeleted, Seq: 3}),
			set(follows), set(Entry{Conversation: news, Row: RowFollows, Value: Left}),
			set(Entry{Conversation: conv, Row: RowContact, Value: Contact, TimeMs: 2100}),
			[]Entry{requested},
		)},
		{User: "carol", Device: "phone", Entries: slices.Concat(early[:1], early[2:], set(follows), feed)},
		{User: "alice", Device: "late", Entries: slices.Concat(quiet, late[1:], feed, []Entry{
			accepted, contact, still,
			{Op: OpRow, Conversation: conv, Row: RowRead, User: "bob", Seq: 1},
		})},
		{User: "bob", Device: "late", Entries: slices.Concat(quiet, late[:2], []Entry{late3}, late[3:], feed[:2], []Entry{
			requested, contact, left,
			final(RowSettings, "second", 0), final(RowRead, "", 1),
			{Op: OpRow, Conversation: conv, Row: RowMention, Seq: 4, From: 2, To: 4},
		})},
		{User: "carol", Device: "late", Entries: slices.Concat(quiet[:2], quiet[3:], feed, []Entry{still})},
	}
}

func TestKeptForOneself(t *testing.T) {
	checkKinds(t, keptForOneself(), nil)
	r := Check(keptForOneself())
	if r.Set != 10 || r.Lapsed != 5 || r.Mentioned != 1 || r.Contacts != 2 {
		t.Errorf("%v", r)
	}
	js := keptForOneself() // what was asked for and never answered may have come true
	find(t, js[bobsLate], Entry{Op: OpRow, Row: RowSettings}).Value = "third"
	checkKinds(t, js, nil)
}

// find returns the last entry with the op, row, seq and notice of like that are
// not zero.
func find(t *testing.T, j *Journal, like Entry) *Entry {
	t.Helper()
	for i := range slices.Backward(j.Entries) {
		e := &j.Entries[i]
		if e.Op == like.Op && (like.Row == "" || e.Row == like.Row) && (like.Seq == 0 || e.Seq == like.Seq) &&
			(like.Conversation == "" || e.Conversation == like.Conversation) && (like.Notice == "" || e.Notice == like.Notice) {
			return e
		}
	}
	t.Fatalf("no %+v", like)
	return nil
}

// TestBrokenForOneself breaks one promise at a time.
func TestBrokenForOneself(t *testing.T) {
	add := func(j *Journal, entries ...Entry) { j.Entries = append(j.Entries, entries...) }
	drop := func(js []*Journal, like func(e Entry) bool) {
		for _, j := range js {
			j.Entries = slices.DeleteFunc(j.Entries, like)
		}
	}
	inFeed := func(notice string) func(Entry) bool {
		return func(e Entry) bool { return e.Notice == notice }
	}
	tests := []struct {
		name   string
		breaks func(js []*Journal)
		want   []Kind
	}{
		{"a message expires too early on the wire", func(js []*Journal) {
			e := find(t, js[bobs], Entry{Op: OpReceive, Conversation: conv, Seq: 2})
			e.Body, e.Gone, e.Lapse = "", true, LapseExpired
		}, []Kind{Early}},
		{"a client is told too early that a message expires", func(js []*Journal) {
			find(t, js[alices], Entry{Op: OpLapse, Seq: 2}).At = 1501
		}, []Kind{Early}},
		{"a message expires that was sent without a time to live", func(js []*Journal) {
			find(t, js[alices], Entry{Op: OpLapse, Seq: 2}).Seq = 3
		}, []Kind{Early}},
		{"an expired message comes back", func(js []*Journal) {
			e := find(t, js[bobsLate], Entry{Op: OpReceive, Conversation: conv, Seq: 2})
			e.Body, e.Gone, e.Lapse = "2", false, ""
		}, []Kind{Returned}},
		{"a message lives for longer than it was sent to", func(js []*Journal) {
			for _, j := range js {
				for i := range j.Entries {
					if e := &j.Entries[i]; e.Op == OpReceive && e.Expires > 0 {
						e.Expires += 10_000
					}
				}
			}
		}, []Kind{Phantom}},
		{"a deleted message comes back", func(js []*Journal) {
			e := find(t, js[bobsLate], Entry{Op: OpReceive, Conversation: conv, Seq: 3})
			e.Body, e.Gone, e.Lapse = "3", false, ""
		}, []Kind{Returned}},
		{"one user's deletion deletes for another one", func(js []*Journal) {
			e := find(t, js[alicesLate], Entry{Op: OpReceive, Conversation: conv, Seq: 3})
			e.Body, e.Gone, e.Lapse = "", true, LapseDeleted
		}, []Kind{Early}},
		{"a cleared conversation is there again", func(js []*Journal) {
			first := *find(t, js[bobsLate], Entry{Op: OpReceive, Conversation: conv, Seq: 1})
			i := slices.IndexFunc(js[alicesLate].Entries, func(e Entry) bool { return e.Op == OpReceive })
			js[alicesLate].Entries = slices.Insert(js[alicesLate].Entries, i, first)
		}, []Kind{Returned}},
		{"more is cleared than was asked for", func(js []*Journal) {
			drop(js[alicesLate:bobsLate], func(e Entry) bool { return e.Op == OpReceive && e.Conversation == conv && e.Seq == 2 })
		}, []Kind{Gap, Lost}},
		{"somebody is told of a clearing that nobody asked for", func(js []*Journal) {
			find(t, js[alices], Entry{Op: OpLapse, Seq: 1}).Seq = 3
		}, []Kind{Early}},
		{"a confirmed setting is lost", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowSettings}).Value = "first"
		}, []Kind{Undone}},
		{"a setting that nobody asked for", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowSettings}).Value = "fourth"
		}, []Kind{Undone}},
		{"nobody looked at a setting in the end", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowSettings}).Row = RowRead
		}, []Kind{Undone, Retreated}},
		{"a cursor goes back", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowRead}).Seq = 0
		}, []Kind{Retreated}},
		{"a cursor goes back for the other one", func(js []*Journal) {
			find(t, js[alicesLate], Entry{Op: OpRow, Row: RowRead}).Seq = 0
		}, []Kind{Retreated}},
		{"an acked mark is lost", func(js []*Journal) {
			add(js[bobs], Entry{Op: OpRow, Conversation: conv, Row: RowRead, Seq: 3})
		}, []Kind{Retreated}},
		{"an unread mention is not reported", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowMention}).Seq = 0
		}, []Kind{Unmentioned}},
		{"a mention is reported that was read", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowMention}).Seq = 1
		}, []Kind{Unmentioned}},
		{"the first mention is not the first one", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowMention}).From = 1
		}, []Kind{Unmentioned}},
		{"somebody else is mentioned", func(js []*Journal) {
			for _, j := range js {
				for i := range j.Entries {
					if e := &j.Entries[i]; e.Op == OpReceive && e.ClientID == "a4" {
						e.Mentions = "carol"
					}
				}
			}
		}, []Kind{Phantom, Altered}},
		{"a follow is lost", func(js []*Journal) {
			find(t, js[carolsLate], Entry{Op: OpRow, Row: RowFollows}).Value = ""
		}, []Kind{Undone, Leaked}},
		{"a leave is lost", func(js []*Journal) {
			find(t, js[bobsLate], Entry{Op: OpRow, Row: RowFollows}).Value = Following
		}, []Kind{Undone, Incomplete}},
		{"who has left is sent what comes after", func(js []*Journal) {
			add(js[bobs], Entry{Op: OpWire, Conversation: news, Seq: 3})
		}, []Kind{Leaked}},
		{"a follower never gets a post", func(js []*Journal) {
			drop(js[carolsLate:], func(e Entry) bool { return e.Op == OpReceive && e.Seq == 3 })
		}, []Kind{Incomplete}},
		{"a contact is lost", func(js []*Journal) {
			for _, j := range js[alicesLate:] {
				if j.User != "carol" {
					find(t, j, Entry{Op: OpRow, Row: RowContact}).Value = NoContact
				}
			}
		}, []Kind{Undone}},
		{"a contact goes back to what it was before", func(js []*Journal) {
			a, b := find(t, js[alicesLate], Entry{Op: OpRow, Row: RowContact}), find(t, js[bobsLate], Entry{Op: OpRow, Row: RowContact})
			a.Value, a.TimeMs, b.Value, b.TimeMs = Requested, 2000, Pending, 2000
		}, []Kind{Undone}},
		{"two users are not the same to each other", func(js []*Journal) {
			add(js[alices], Entry{Op: OpSet, Conversation: conv, Row: RowContact, Value: NoContact})
			find(t, js[alicesLate], Entry{Op: OpRow, Row: RowContact}).Value = NoContact
		}, []Kind{Forked}},
		{"a request is never told", func(js []*Journal) {
			drop(js, inFeed(NoticeRequested))
		}, []Kind{Undone}},
		{"that it was accepted is never told", func(js []*Journal) {
			drop(js, inFeed(NoticeAccepted))
		}, []Kind{Undone}},
		{"a notice is told twice under one name", func(js []*Journal) {
			again := *find(t, js[bobs], Entry{Op: OpReceive, Notice: NoticeRequested})
			again.Seq, again.ID = 2, 302
			add(js[bobs], again)
			add(js[bobsLate], again)
		}, []Kind{Doubled, Phantom}},
		{"a notice is told twice under two names", func(js []*Journal) {
			again := *find(t, js[bobs], Entry{Op: OpReceive, Notice: NoticeRequested})
			again.Seq, again.ID, again.ClientID = 2, 302, "f3"
			add(js[alices], Entry{Op: OpSet, Conversation: conv, Row: RowContact, Value: Requested, Body: "other"})
			add(js[bobs], again)
			add(js[bobsLate], again)
		}, []Kind{Doubled}},
		{"a refusal is told that never was", func(js []*Journal) {
			find(t, js[alices], Entry{Op: OpReceive, Notice: NoticeAccepted}).Notice = NoticeRefused
			find(t, js[alicesLate], Entry{Op: OpReceive, Notice: NoticeAccepted}).Notice = NoticeRefused
		}, []Kind{Phantom, Undone}},
		{"somebody who never asked is said to have asked", func(js []*Journal) {
			e := at(Entry{Kind: KindNotice, Notice: NoticeRequested, Actor: "carol", Users: "bob", About: "d:bob:carol", ClientID: "f4"}, "s:bob", 2)
			add(js[bobs], e)
			add(js[bobsLate], e)
		}, []Kind{Phantom, Doubled}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			js := keptForOneself()
			test.breaks(js)
			checkKinds(t, js, test.want)
		})
	}
}

// TestUnansweredContact: what was asked and not answered may have come true, or not.
func TestUnansweredContact(t *testing.T) {
	for _, end := range []struct {
		alice, bob string
		timeMs     int64
		want       []Kind
	}{
		{Contact, Contact, 2100, nil},
		{NoContact, NoContact, 0, nil},
		{Requested, Pending, 2200, []Kind{Undone}}, // nobody asked for that again
		{Contact, Contact, 2050, []Kind{Undone}},   // it is older than what bob was told
	} {
		js := keptForOneself()
		js[bobs].Entries = append(js[bobs].Entries, Entry{Op: OpSet, Conversation: conv, Row: RowContact, Value: NoContact})
		a, b := find(t, js[alicesLate], Entry{Op: OpRow, Row: RowContact}), find(t, js[bobsLate], Entry{Op: OpRow, Row: RowContact})
		a.Value, a.TimeMs, b.Value, b.TimeMs = end.alice, end.timeMs, end.bob, end.timeMs
		checkKinds(t, js, end.want)
	}
}

// TestClearedWithEvents: who was away while another device cleared a conversation is
// handed neither the messages nor the events up to there.
func TestClearedWithEvents(t *testing.T) {
	send := func(e Entry) Entry { e.Op, e.Conversation, e.Sender = OpSend, conv, ""; return e }
	first := Entry{Sender: "alice", ClientID: "a1", Body: "1"}
	edit := Entry{Sender: "alice", ClientID: "a2", Kind: KindEdit, Target: 1, Body: "edited"}
	last := Entry{Sender: "alice", ClientID: "a3", Body: "3"}
	log := []Entry{at(first, conv, 1), at(edit, conv, 2), at(last, conv, 3)}
	open := []Entry{{Op: OpOpen, Conversation: conv}}
	run := func(asked ...Entry) []*Journal {
		return []*Journal{
			{User: "alice", Device: "phone", Entries: slices.Concat(open, []Entry{send(first), send(edit), send(last)}, log)},
			{User: "bob", Device: "phone", Entries: slices.Concat(open, log, asked)},
			{User: "bob", Device: "tablet", Entries: slices.Concat(open, log[:1], []Entry{
				{Op: OpLapse, Conversation: conv, Seq: 2, Lapse: LapseCleared}, log[2],
			})},
		}
	}
	checkKinds(t, run(set(Entry{Conversation: conv, Row: RowCleared, Seq: 2})...), nil)
	checkKinds(t, run(), []Kind{Altered, Early, Gap, Incomplete})
}
