package journal

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const conv = "d:alice:bob"

func sent(clientID string) Entry {
	return Entry{Op: OpSend, Conversation: conv, ClientID: clientID, Body: "body of " + clientID}
}

func acked(clientID string, seq uint64) Entry {
	return Entry{Op: OpAck, Conversation: conv, ClientID: clientID, Seq: seq, ID: 100 + seq, TimeMs: 1000 + int64(seq)}
}

func got(sender, clientID string, seq uint64) Entry {
	return Entry{
		Op: OpReceive, Conversation: conv, Sender: sender, ClientID: clientID, Body: "body of " + clientID,
		Seq: seq, ID: 100 + seq, TimeMs: 1000 + int64(seq),
	}
}

// kept is a run in which every promise was kept: alice sent a1, a2 and a3, of
// which a3 was never acked but is stored, bob sent b1, and b2, which is lost
// without an ack.
func kept() []*Journal {
	open := Entry{Op: OpOpen, Conversation: conv}
	all := []Entry{got("alice", "a1", 1), got("bob", "b1", 2), got("alice", "a2", 3), got("alice", "a3", 4)}
	return []*Journal{
		{User: "alice", Device: "phone", Entries: append([]Entry{
			open, sent("a1"), acked("a1", 1), sent("a2"), sent("a3"), acked("a2", 3),
		}, all...)},
		{User: "bob", Device: "phone", Entries: append([]Entry{open, sent("b1"), acked("b1", 2), sent("b2")}, all...)},
		{User: "bob", Device: "tablet", Entries: append([]Entry{open}, all...)},
	}
}

func TestKeptPromises(t *testing.T) {
	r := Check(kept())
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	want := Report{Clients: 3, Conversations: 1, Sent: 5, Acked: 3, Stored: 4, Received: 12}
	if fmt.Sprint(r) != fmt.Sprint(&want) {
		t.Fatalf("got %v, want %v", r, &want)
	}
}

// TestBrokenPromises breaks one promise at a time.
func TestBrokenPromises(t *testing.T) {
	const alice, bob, tablet = 0, 1, 2
	// find returns where e stands in j.
	find := func(j *Journal, e Entry) int {
		i := slices.Index(j.Entries, e)
		if i < 0 {
			t.Fatalf("no %+v", e)
		}
		return i
	}
	remove := func(j *Journal, e Entry) {
		i := find(j, e)
		j.Entries = slices.Delete(j.Entries, i, i+1)
	}
	everywhere := func(js []*Journal, f func(e *Entry)) {
		for _, j := range js {
			for i := range j.Entries {
				f(&j.Entries[i])
			}
		}
	}
	tests := []struct {
		name   string
		breaks func(js []*Journal)
		want   []Kind // all that is reported, once each or more
	}{
		{"an acked message reached nobody", func(js []*Journal) {
			js[bob].Entries = append(js[bob].Entries, acked("b2", 5))
		}, []Kind{Lost}},
		{"an acked message at the end missed one reader", func(js []*Journal) {
			js[alice].Entries = append(js[alice].Entries, acked("a3", 4))
			remove(js[tablet], got("alice", "a3", 4))
		}, []Kind{Lost}},
		{"a stored message at the end missed one reader", func(js []*Journal) {
			remove(js[tablet], got("alice", "a3", 4))
		}, []Kind{Incomplete}},
		{"an acked message was overwritten after the ack", func(js []*Journal) {
			js[bob].Entries = append(js[bob].Entries, acked("b2", 3))
		}, []Kind{Forked}},
		{"a reader got nothing", func(js []*Journal) {
			js[tablet].Entries = js[tablet].Entries[:1]
		}, []Kind{Lost, Incomplete}},
		{"a conversation without a reader", func(js []*Journal) {
			s, a := sent("a4"), acked("a4", 1)
			s.Conversation, a.Conversation, a.ID = "d:alice:carol", "d:alice:carol", 900
			js[alice].Entries = append(js[alice].Entries, s, a)
		}, []Kind{Lost}},
		{"a resend was stored again", func(js []*Journal) {
			for _, j := range js {
				j.Entries = append(j.Entries, got("alice", "a1", 5))
			}
		}, []Kind{Doubled}},
		{"a resend was acked with another seq", func(js []*Journal) {
			js[alice].Entries = append(js[alice].Entries, acked("a1", 4))
		}, []Kind{Doubled, Forked}},
		{"a resend was acked with another id", func(js []*Journal) {
			again := acked("a1", 1)
			again.ID = 999
			js[alice].Entries = append(js[alice].Entries, again)
		}, []Kind{Forked}},
		{"a reader skipped a seq", func(js []*Journal) {
			remove(js[tablet], got("bob", "b1", 2))
		}, []Kind{Gap, Lost}},
		{"a seq was never given", func(js []*Journal) {
			everywhere(js, func(e *Entry) {
				if e.Seq == 4 {
					e.Seq = 5
				}
			})
		}, []Kind{Gap}},
		{"seqs start at 2", func(js []*Journal) {
			everywhere(js, func(e *Entry) {
				if e.Seq > 0 {
					e.Seq++
				}
			})
		}, []Kind{Gap}},
		{"a reader was handed a message twice", func(js []*Journal) {
			js[tablet].Entries = append(js[tablet].Entries, got("alice", "a3", 4))
		}, []Kind{Repeated}},
		{"a reader was handed two messages in the wrong order", func(js []*Journal) {
			i := find(js[tablet], got("bob", "b1", 2))
			e := js[tablet].Entries
			e[i], e[i+1] = e[i+1], e[i]
		}, []Kind{Gap, Repeated}},
		{"two readers saw two orders", func(js []*Journal) {
			e := js[tablet].Entries
			e[find(js[tablet], got("bob", "b1", 2))] = got("alice", "a2", 2)
			e[find(js[tablet], got("alice", "a2", 3))] = got("bob", "b1", 3)
		}, []Kind{Forked, Doubled, Altered}},
		{"a reader saw another time", func(js []*Journal) {
			js[tablet].Entries[find(js[tablet], got("bob", "b1", 2))].TimeMs++
		}, []Kind{Forked}},
		{"a message that nobody sent", func(js []*Journal) {
			for _, j := range js {
				j.Entries = append(j.Entries, got("mallory", "m1", 5))
			}
		}, []Kind{Phantom}},
		{"a message under another sender's name", func(js []*Journal) {
			for _, j := range js {
				j.Entries = append(j.Entries, got("alice", "b2", 5))
			}
		}, []Kind{Phantom}},
		{"another body than was sent", func(js []*Journal) {
			everywhere(js, func(e *Entry) {
				if e.Op == OpReceive && e.Seq == 4 {
					e.Body = "tampered"
				}
			})
		}, []Kind{Phantom, Altered}},
		{"one reader got another body", func(js []*Journal) {
			js[tablet].Entries[find(js[tablet], got("alice", "a3", 4))].Body = "tampered"
		}, []Kind{Phantom, Forked, Altered}},
		{"a sender's messages changed places", func(js []*Journal) {
			e := js[alice].Entries
			i, j := find(js[alice], sent("a2")), find(js[alice], sent("a3"))
			e[i], e[j] = e[j], e[i]
		}, []Kind{SenderOrder}},
		{"time ran backwards", func(js []*Journal) {
			everywhere(js, func(e *Entry) {
				if e.Seq == 3 {
					e.TimeMs = 900
				}
			})
		}, []Kind{TimeBackwards}},
		{"two messages share an id", func(js []*Journal) {
			everywhere(js, func(e *Entry) {
				if e.Seq == 3 {
					e.ID = 101
				}
			})
		}, []Kind{SharedID}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			js := kept()
			test.breaks(js)
			checkKinds(t, js, test.want)
		})
	}
}

// checkKinds checks that these kinds of violations are reported, and no others.
func checkKinds(t *testing.T, js []*Journal, want []Kind) {
	t.Helper()
	r := Check(js)
	var kinds []Kind
	for _, v := range r.Violations {
		if !slices.Contains(kinds, v.Kind) {
			kinds = append(kinds, v.Kind)
		}
	}
	slices.Sort(kinds)
	slices.Sort(want)
	if !slices.Equal(kinds, want) {
		t.Errorf("reported %v, want %v: %v", kinds, want, r.Err())
	}
}

func TestWrittenJournalReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice.jsonl")
	w, err := Create(path, "alice", "phone")
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Op: OpOpen, Conversation: conv}, sent("a1"), acked("a1", 1), got("bob", "b1", 2),
	}
	for _, e := range want {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(sent("a2")); err == nil {
		t.Error("an entry was added after Close")
	}
	if _, err := Create(path, "alice", "phone"); err == nil {
		t.Error("a second run took over the journal of the first")
	}
	j, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if j.Name() != "alice/phone" || !slices.Equal(j.Entries, want) {
		t.Errorf("read back %s %+v", j.Name(), j.Entries)
	}
}

func TestReadJournal(t *testing.T) {
	const first = `{"op":"client","user":"a","device":"d"}` + "\n"
	tests := []struct {
		name, in, err string
		entries       int
	}{
		{"half a last line", first + `{"op":"open","conv":"c"}` + "\n" + `{"op":"se`, "", 1},
		{"half a line in the middle", first + `{"op":"se` + "\n" + `{"op":"open","conv":"c"}` + "\n", "line 2", 0},
		{"unknown op", first + `{"op":"dance"}` + "\n", "line 2", 0},
		{"unknown field", first + `{"op":"open","colour":"red"}` + "\n", "line 2", 0},
		{"no client", `{"op":"open","conv":"c"}` + "\n", "line 1", 0},
		{"nothing", "", "empty", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j, err := Read(strings.NewReader(test.in))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil || len(j.Entries) != test.entries {
				t.Fatalf("%+v, %v", j, err)
			}
		})
	}
}
