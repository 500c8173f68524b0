package journal

import (
	"slices"
	"testing"
)

const group = "g:alice:1"

// groupLog is a group in which a new member sees what comes after: alice makes
// it with bob, carol joins, bob is removed and added again, carol leaves; there
// are an edit, a reaction and a recall.
func groupLog() []Entry {
	log := []Entry{
		{Kind: KindNotice, Notice: NoticeCreated, Actor: "alice", Users: "alice bob"},
		{Sender: "alice", ClientID: "a1", Body: "first"},
		{Kind: KindNotice, Notice: NoticeJoined, Actor: "carol", Users: "carol"},
		{Sender: "bob", ClientID: "b1", Body: "hello"},
		{Sender: "alice", ClientID: "a2", Kind: KindEdit, Target: 2, Body: "edited"},
		{Sender: "carol", ClientID: "c1", Kind: KindReact, Target: 4, Body: "+1"},
		{Kind: KindNotice, Notice: NoticeRemoved, Actor: "alice", Users: "bob"},
		{Sender: "alice", ClientID: "a3", Kind: KindRecall, Target: 2},
		{Kind: KindNotice, Notice: NoticeAdded, Actor: "alice", Users: "bob"},
		{Sender: "bob", ClientID: "b2", Body: "back"},
		{Kind: KindNotice, Notice: NoticeLeft, Actor: "carol", Users: "carol"},
	}
	for i := range log {
		seq := uint64(i + 1)
		log[i].Op, log[i].Conversation = OpReceive, group
		log[i].Seq, log[i].ID, log[i].TimeMs = seq, 100+seq, 1000+int64(seq)
	}
	return log
}

// late is the log as it is for who comes when all is over.
func late() []Entry {
	log := groupLog()
	log[1].Gone, log[1].Body, log[1].Version = true, "", 8
	log[3].Reactions, log[3].Version = Reactions(map[string][]string{"+1": {"carol"}}), 6
	log[4].Gone, log[4].Body = true, ""
	return log
}

// The journals of the run, by index.
const (
	alicePhone = iota
	bobPhone
	carolPhone
	davePhone
	aliceLate
	bobLate
	carolLate
)

// keptInGroup is a run in which every promise was kept.
func keptInGroup() []*Journal {
	log := groupLog()
	open := Entry{Op: OpOpen, Conversation: group, History: HistoryJoin}
	own := func(user string, more ...Entry) (entries []Entry) {
		entries = append(entries, open)
		for _, e := range log {
			switch {
			case e.Actor == user:
				ask := Entry{Op: OpAsk, Conversation: group, Notice: e.Notice, Users: e.Users}
				done := ask
				done.Op, done.Seq = OpDone, e.Seq
				entries = append(entries, ask, done)
			case e.Sender == user:
				sent, acked := e, Entry{Op: OpAck, Conversation: group, ClientID: e.ClientID, Seq: e.Seq, ID: e.ID, TimeMs: e.TimeMs}
				sent.Op, sent.Sender, sent.Seq, sent.ID, sent.TimeMs = OpSend, "", 0, 0, 0
				entries = append(entries, sent, acked)
			}
		}
		return append(entries, more...)
	}
	wired := func(log []Entry) (entries []Entry) {
		for _, e := range log {
			entries = append(entries, Entry{Op: OpWire, Conversation: group, Seq: e.Seq}, e)
		}
		return entries
	}
	skip := Entry{Op: OpSkip, Conversation: group, Seq: 8, To: 8}
	quiet := []Entry{{Op: OpQuiet}, open}
	return []*Journal{
		{User: "alice", Device: "phone", Entries: append(own("alice"), wired(log)...)},
		{User: "bob", Device: "phone", Entries: slices.Concat(own("bob",
			Entry{Op: OpSend, Conversation: group, ClientID: "b3", Body: "too late"},
			Entry{Op: OpRefuse, Conversation: group, ClientID: "b3", Code: "NOT_A_MEMBER"},
		), wired(log[:7]), []Entry{skip}, wired(log[8:]))},
		{User: "carol", Device: "phone", Entries: slices.Concat(own("carol",
			// A reaction that is there already: the answer names the first one.
			Entry{Op: OpSend, Conversation: group, ClientID: "c2", Kind: KindReact, Target: 4, Body: "+1"},
			Entry{Op: OpAck, Conversation: group, ClientID: "c2", Seq: 6, ID: 106, TimeMs: 1006},
		), wired(log[2:]))},
		{User: "dave", Device: "phone", Entries: []Entry{open}},
		{User: "alice", Device: "late", Entries: append(slices.Clone(quiet), wired(late())...)},
		{User: "bob", Device: "late", Entries: append(slices.Clone(quiet), wired(late()[8:])...)},
		{User: "carol", Device: "late", Entries: append(slices.Clone(quiet), wired(late()[2:])...)},
	}
}

func TestKeptPromisesInGroup(t *testing.T) {
	checkKinds(t, keptInGroup(), nil)
	r := Check(keptInGroup())
	if r.Stored != 11 || r.Events != 3 || r.Notices != 5 || r.Acked != 6 {
		t.Errorf("%v", r)
	}
}

// TestRecalledAfterTheirEnd: who has left sees that a message was recalled since, but
// nothing of the event that did it, nor of any other.
func TestRecalledAfterTheirEnd(t *testing.T) {
	for name, test := range map[string]struct {
		gone    bool
		version uint64
		want    []Kind
	}{
		"before the recall":     {false, 6, nil},
		"after it":              {true, 11, nil},
		"with the event's seq":  {true, 12, []Kind{Altered}},
		"with a seq of before":  {true, 10, []Kind{Altered}},
		"as it was, and is not": {false, 11, []Kind{Altered}},
	} {
		t.Run(name, func(t *testing.T) {
			js := keptInGroup()
			recall := Entry{Sender: "alice", ClientID: "a4", Kind: KindRecall, Target: 4, Op: OpReceive, Conversation: group, Seq: 12, ID: 112, TimeMs: 1012}
			js[alicePhone].Entries = append(js[alicePhone].Entries,
				Entry{Op: OpSend, Conversation: group, ClientID: "a4", Kind: KindRecall, Target: 4},
				Entry{Op: OpAck, Conversation: group, ClientID: "a4", Seq: 12, ID: 112, TimeMs: 1012})
			for _, j := range []int{alicePhone, bobPhone, aliceLate, bobLate} {
				js[j].Entries = append(js[j].Entries, Entry{Op: OpWire, Conversation: group, Seq: 12}, recall)
			}
			for j, version := range map[int]uint64{aliceLate: 12, carolLate: test.version} {
				i := slices.IndexFunc(js[j].Entries, func(e Entry) bool { return e.Op == OpReceive && e.Seq == 4 })
				e := &js[j].Entries[i]
				if e.Version = version; j == aliceLate || test.gone {
					e.Gone, e.Body, e.Reactions = true, "", ""
				}
			}
			checkKinds(t, js, test.want)
		})
	}
}

// TestBrokenPromisesInGroup breaks one promise at a time.
func TestBrokenPromisesInGroup(t *testing.T) {
	handed := func(j *Journal, seq uint64) *Entry {
		i := slices.IndexFunc(j.Entries, func(e Entry) bool { return e.Op == OpReceive && e.Seq == seq })
		return &j.Entries[i]
	}
	drop := func(j *Journal, drop func(e Entry) bool) { j.Entries = slices.DeleteFunc(j.Entries, drop) }
	tests := []struct {
		name   string
		breaks func(js []*Journal)
		want   []Kind
	}{
		{"a removed member is sent what comes after", func(js []*Journal) {
			js[bobPhone].Entries = append(js[bobPhone].Entries, Entry{Op: OpWire, Conversation: group, Seq: 8})
		}, []Kind{Leaked}},
		{"a removed member is handed what comes after", func(js []*Journal) {
			i := slices.IndexFunc(js[bobPhone].Entries, func(e Entry) bool { return e.Op == OpSkip })
			js[bobPhone].Entries[i] = groupLog()[7]
		}, []Kind{Leaked}},
		{"a member who left is sent what comes after", func(js []*Journal) {
			js[carolPhone].Entries = append(js[carolPhone].Entries, Entry{Op: OpWire, Conversation: group, Seq: 12})
		}, []Kind{Leaked}},
		{"a new member is handed what was before", func(js []*Journal) {
			js[carolLate].Entries = slices.Insert(js[carolLate].Entries, 2, late()[1])
		}, []Kind{Leaked, Gap}},
		{"somebody who never was a member is handed something", func(js []*Journal) {
			js[davePhone].Entries = append(js[davePhone].Entries, groupLog()[0])
		}, []Kind{Leaked}},
		{"who came back never gets the last message", func(js []*Journal) {
			drop(js[bobLate], func(e Entry) bool { return e.Seq > 10 })
		}, []Kind{Incomplete}},
		{"who left does not keep what was before", func(js []*Journal) {
			drop(js[carolLate], func(e Entry) bool { return e.Op == OpReceive || e.Op == OpWire })
		}, []Kind{Lost, Incomplete}},
		{"seqs are missing and nobody says so", func(js []*Journal) {
			drop(js[bobPhone], func(e Entry) bool { return e.Op == OpSkip })
		}, []Kind{Gap}},
		{"a member is told that a message is not to be had", func(js []*Journal) {
			*handed(js[carolPhone], 10) = Entry{Op: OpSkip, Conversation: group, Seq: 10, To: 10}
		}, []Kind{Gap, Lost}},
		{"a member is told to skip what they were handed", func(js []*Journal) {
			i := slices.IndexFunc(js[bobPhone].Entries, func(e Entry) bool { return e.Op == OpSkip })
			js[bobPhone].Entries[i].Seq = 5
		}, []Kind{Gap}},
		{"a refused message is there", func(js []*Journal) {
			js[bobPhone].Entries = append(js[bobPhone].Entries, Entry{Op: OpRefuse, Conversation: group, ClientID: "b2", Code: "NOT_A_MEMBER"})
		}, []Kind{Stored}},
		{"a recall is acked and not applied", func(js []*Journal) {
			e := handed(js[aliceLate], 2)
			e.Gone, e.Body, e.Version = false, "edited", 5
		}, []Kind{Stale}},
		{"a recall is never in the log", func(js []*Journal) {
			for _, j := range js {
				drop(j, func(e Entry) bool { return e.Op == OpReceive && e.Seq == 8 })
			}
		}, []Kind{Gap, Lost, Altered}},
		{"a reader does not see the edit that another one sees", func(js []*Journal) {
			e := handed(js[bobLate], 10)
			e.Version, e.Body = 9, "edited"
		}, []Kind{Altered}},
		{"a message is edited and there is no event", func(js []*Journal) {
			for _, j := range js[aliceLate:] {
				handed(j, 10).Body = "edited"
			}
		}, []Kind{Phantom, Forked, Altered}},
		{"a reader sees the reaction of somebody else", func(js []*Journal) {
			handed(js[aliceLate], 4).Reactions = Reactions(map[string][]string{"+1": {"bob"}})
		}, []Kind{Altered}},
		{"an event changes another message", func(js []*Journal) {
			handed(js[alicePhone], 8).Target = 4
		}, []Kind{Phantom, Forked, Altered}},
		{"an edit says something else to one reader", func(js []*Journal) {
			handed(js[alicePhone], 5).Body = "tampered"
		}, []Kind{Phantom, Forked}},
		{"an edit is gone that no later event outdates", func(js []*Journal) {
			for _, j := range js { // it is of seq 4 now
				for i := range j.Entries {
					if e := &j.Entries[i]; e.Kind == KindEdit {
						e.Target = 4
					}
					if e := &j.Entries[i]; e.Op == OpReceive && e.Seq == 2 {
						e.Gone, e.Body, e.Version = true, "", 8
					}
				}
			}
		}, []Kind{Altered}},
		{"an acked change of the group is not there", func(js []*Journal) {
			i := slices.IndexFunc(js[alicePhone].Entries, func(e Entry) bool { return e.Op == OpDone && e.Notice == NoticeRemoved })
			js[alicePhone].Entries[i].Seq = 9
		}, []Kind{Undone}},
		{"a change of the group that nobody asked for", func(js []*Journal) {
			drop(js[alicePhone], func(e Entry) bool { return e.Op == OpAsk && e.Notice == NoticeRemoved })
		}, []Kind{Phantom}},
		{"a reaction is said to be there that is not", func(js []*Journal) {
			i := slices.IndexFunc(js[carolPhone].Entries, func(e Entry) bool { return e.Op == OpSend && e.ClientID == "c2" })
			js[carolPhone].Entries[i].Body = "-1"
		}, []Kind{Undone}},
		{"an acked reaction is nowhere", func(js []*Journal) {
			js[carolPhone].Entries = append(js[carolPhone].Entries,
				Entry{Op: OpSend, Conversation: group, ClientID: "c3", Kind: KindReact, Target: 4, Body: "-1"},
				Entry{Op: OpAck, Conversation: group, ClientID: "c3", Seq: 12, ID: 112, TimeMs: 1012})
		}, []Kind{Lost, Altered, Stale}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			js := keptInGroup()
			test.breaks(js)
			checkKinds(t, js, test.want)
		})
	}
}

func TestInvitations(t *testing.T) {
	const feed = "s:bob"
	created := Entry{Op: OpReceive, Conversation: group, Seq: 1, ID: 1, TimeMs: 1, Kind: KindNotice, Notice: NoticeCreated, Actor: "alice", Users: "alice"}
	joined := Entry{Op: OpReceive, Conversation: group, Seq: 2, ID: 2, TimeMs: 2, Kind: KindNotice, Notice: NoticeJoined, Actor: "bob", Users: "bob"}
	told := func(clientID string, seq uint64) Entry {
		return Entry{
			Op: OpReceive, Conversation: feed, ClientID: clientID, Seq: seq, ID: 100 + seq, TimeMs: 1000,
			Kind: KindNotice, Notice: NoticeInvited, Actor: "alice", Users: "bob", About: group,
		}
	}
	open := Entry{Op: OpOpen, Conversation: group, History: HistoryJoin}
	ask := func(notice, users string) Entry {
		return Entry{Op: OpAsk, Conversation: group, Notice: notice, Users: users}
	}
	tests := []struct {
		name string
		bobs []Entry // of his feed
		want []Kind
	}{
		{"told once", []Entry{told("f1", 1)}, nil},
		{"and invited again since", []Entry{told("f1", 1), told("f2", 2)}, nil},
		{"never told", nil, []Kind{Undone}},
		{"told twice of one", []Entry{told("f1", 1), told("f1", 2)}, []Kind{Doubled}},
		{"told more often than there can have been invitations", []Entry{told("f1", 1), told("f2", 2), told("f3", 3)}, []Kind{Undone}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkKinds(t, []*Journal{
				{User: "alice", Device: "phone", Entries: []Entry{
					open, ask(NoticeCreated, "alice"), ask(NoticeInvited, "bob"), created, joined,
				}},
				{User: "bob", Device: "phone", Entries: append([]Entry{open, ask(NoticeJoined, "bob"), joined}, test.bobs...)},
			}, test.want)
		})
	}
	t.Run("by nobody", func(t *testing.T) {
		checkKinds(t, []*Journal{{User: "bob", Device: "phone", Entries: []Entry{told("f1", 1)}}}, []Kind{Phantom})
	})
}
