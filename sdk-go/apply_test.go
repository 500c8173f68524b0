package godwit_test

import (
	"testing"
	"time"

	godwit "github.com/godwit-im/godwit/sdk-go"
)

// TestApply applies changes that are void, late, about another message, or meet
// a tombstone.
func TestApply(t *testing.T) {
	event := func(kind godwit.Kind, seq uint64, body string) godwit.MessageChange {
		e := godwit.Message{Conversation: "d:a:b", Seq: seq, Sender: "b", Kind: kind, Target: 3, Body: []byte(body), Time: time.Unix(9, 0)}
		return e.Change()
	}
	void := event(godwit.KindEdit, 5, "")
	void.Event.State = godwit.MessageRecalled
	deleted := godwit.MessageChange{Conversation: "d:a:b", Seq: 3, Type: godwit.ChangeDeleted}
	cleared := godwit.MessageChange{Conversation: "d:a:b", Seq: 2, Type: godwit.ChangeCleared}
	expired := godwit.MessageChange{Conversation: "d:a:b", Seq: 3, Type: godwit.ChangeExpired}
	edit, recall := event(godwit.KindEdit, 6, "new"), event(godwit.KindRecall, 7, "")
	other := edit
	other.Conversation = "d:a:c"
	for name, test := range map[string]struct {
		changes []godwit.MessageChange
		applied bool // the last of them
		state   godwit.MessageState
		text    string
		version uint64
	}{
		"edit":                  {[]godwit.MessageChange{edit}, true, godwit.MessageNormal, "new", 6},
		"the same again":        {[]godwit.MessageChange{edit, edit}, false, godwit.MessageNormal, "new", 6},
		"an older one":          {[]godwit.MessageChange{edit, event(godwit.KindEdit, 5, "old")}, false, godwit.MessageNormal, "new", 6},
		"another message":       {[]godwit.MessageChange{other}, false, godwit.MessageNormal, "text", 0},
		"an edit that is void":  {[]godwit.MessageChange{void}, true, godwit.MessageNormal, "text", 5},
		"void, then the next":   {[]godwit.MessageChange{void, edit}, true, godwit.MessageNormal, "new", 6},
		"recall":                {[]godwit.MessageChange{edit, recall}, true, godwit.MessageRecalled, "", 7},
		"deleted, recalled":     {[]godwit.MessageChange{deleted, recall}, true, godwit.MessageRecalled, "", 7},
		"recalled, deleted":     {[]godwit.MessageChange{recall, deleted}, false, godwit.MessageRecalled, "", 7},
		"deleted, edited":       {[]godwit.MessageChange{deleted, edit}, true, godwit.MessageDeleted, "", 6},
		"expired, recalled":     {[]godwit.MessageChange{expired, recall}, true, godwit.MessageRecalled, "", 7},
		"cleared up to before":  {[]godwit.MessageChange{cleared}, false, godwit.MessageNormal, "text", 0},
		"a reaction, taken off": {[]godwit.MessageChange{event(godwit.KindReaction, 5, "+1"), recall}, true, godwit.MessageRecalled, "", 7},
	} {
		m := godwit.Message{Conversation: "d:a:b", Seq: 3, Sender: "a", Kind: godwit.KindText, Body: []byte("text")}
		var applied bool
		for _, c := range test.changes {
			applied = m.Apply(c)
		}
		if applied != test.applied || m.State != test.state || m.Text() != test.text || m.Version != test.version || m.Reactions != nil {
			t.Errorf("%s: %v, %+v", name, applied, m)
		}
	}
}

// TestApplyLeavesCopiesAlone changes one of two copies.
func TestApplyLeavesCopiesAlone(t *testing.T) {
	react := func(seq uint64, user string) godwit.MessageChange {
		e := godwit.Message{Conversation: "d:a:b", Seq: seq, Sender: user, Kind: godwit.KindReaction, Target: 3, Body: []byte("+1")}
		return e.Change()
	}
	m := godwit.Message{Conversation: "d:a:b", Seq: 3, Sender: "a", Kind: godwit.KindText}
	m.Apply(react(4, "b"))
	earlier := m
	m.Apply(react(5, "a"))
	if r := earlier.Reactions[0]; r.Count != 1 || len(r.Users) != 1 || r.Users[0] != "b" {
		t.Errorf("the copy has %+v", r)
	}
	if r := m.Reactions[0]; r.Count != 2 || len(r.Users) != 2 || r.Users[0] != "a" {
		t.Errorf("the message has %+v", r)
	}
}
