package chat

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Helper()
}

func decode(t fataler, wire []byte) *pb.Message {
	t.Helper()
	m := &pb.Message{}
	if err := proto.Unmarshal(wire, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// poster posts to a group as whoever a test likes.
type poster struct {
	fataler
	store *msgstore.Store
	rules Rules
	sent  int
}

const posted = "g:ann:club"

func newPoster(t fataler) *poster {
	store, err := msgstore.Open(storeOptions(vfs.NewMem()))
	if err != nil {
		t.Fatal(err)
	}
	p := &poster{fataler: t, store: store, rules: DefaultRules()}
	tx := store.Begin()
	if err := tx.Create(1, posted); err != nil {
		t.Fatal(err)
	}
	p.commit(tx)
	return p
}

func (p *poster) close() {
	if err := p.store.Close(); err != nil {
		p.Fatal(err)
	}
}

func (p *poster) commit(tx *msgstore.Tx) {
	if err := tx.Commit(); err != nil {
		p.Fatal(err)
	}
}

// post has user, in this role, send c.
func (p *poster) post(user string, role pb.Role, c Command) (Result, []Effect) {
	p.Helper()
	p.sent++
	c.Op, c.Conversation, c.User, c.ClientID, c.Rules = OpSend, posted, user, fmt.Sprintf("c%d", p.sent), &p.rules
	c.MessageID = uint64(p.sent)
	if c.TimeMs == 0 {
		c.TimeMs = int64(p.sent)
	}
	index := p.store.Applied(p.store.PartitionOf(posted)) + 1
	tx := p.store.Begin()
	from := &sender{
		group: &pb.Group{Conversation: posted, Owner: "ann"},
		row:   msgstore.Member{Membership: &pb.Membership{Role: role, FromSeq: 1}},
	}
	r, effects, err := post(tx, index, &c, from, nil)
	if err != nil {
		p.Fatal(err)
	}
	tx.SetApplied(p.store.PartitionOf(posted), index)
	p.commit(tx)
	return r, effects
}

func (p *poster) text(user, body string) uint64 {
	p.Helper()
	r, _ := p.post(user, pb.Role_ROLE_MEMBER, Command{Kind: pb.Kind_KIND_TEXT, Body: []byte(body)})
	if r.Err != nil {
		p.Fatal(r.Err)
	}
	return r.Seq
}

func (p *poster) message(seq uint64) *pb.Message {
	p.Helper()
	wire, found, err := p.store.Message(posted, seq)
	if err != nil || !found {
		p.Fatalf("message %d: %v, %v", seq, found, err)
	}
	return decode(p, wire)
}

// TestReactions holds the record of a message, after each of a run of random
// reactions, to a model: how many have which, in the order in which each came
// up, and the first of them by id.
func TestReactions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPoster(t)
		defer p.close()
		p.rules.MaxReactions = 3
		target := p.text("ann", "one")
		var keys []string
		have := map[string][]string{}
		for range rapid.IntRange(1, 80).Draw(t, "reactions") {
			key := rapid.SampledFrom([]string{"a", "a", "a", "a", "b", "c", "d", "ab"}).Draw(t, "key")
			user := fmt.Sprintf("u%02d", rapid.IntRange(0, 25).Draw(t, "user"))
			remove := rapid.IntRange(0, 2).Draw(t, "remove") == 0
			before, _, _ := p.store.Head(posted)
			r, _ := p.post(user, pb.Role_ROLE_MEMBER, Command{Kind: pb.Kind_KIND_REACTION, Body: []byte(key), Target: target, Remove: remove})
			has := slices.Contains(have[key], user)
			switch {
			case has != remove:
				if after, _, _ := p.store.Head(posted); r.Err != nil || !r.Duplicate || after.Seq != before.Seq {
					t.Fatalf("%s, remove %v of %q again: %+v at %d after %d", user, remove, key, r, after.Seq, before.Seq)
				}
				if r.Seq != max(target, p.message(target).ChangedSeq) {
					t.Fatalf("the answer names %d", r.Seq)
				}
				continue
			case !remove && len(have[key]) == 0 && len(keys) == 3:
				if protocol.CodeOf(r.Err) != pb.Code_CODE_TOO_MANY_REACTIONS {
					t.Fatalf("a fourth reaction: %v", r.Err)
				}
				continue
			case remove:
				have[key] = slices.DeleteFunc(have[key], func(u string) bool { return u == user })
				if len(have[key]) == 0 {
					keys = slices.DeleteFunc(keys, func(k string) bool { return k == key })
				}
			default:
				if len(have[key]) == 0 {
					keys = append(keys, key)
				}
				have[key] = append(have[key], user)
				slices.Sort(have[key])
			}
			m := p.message(target)
			if r.Err != nil || m.ChangedSeq != r.Seq || len(m.Reactions) != len(keys) {
				t.Fatalf("%+v left %v, want %v", r, m, keys)
			}
			for i, got := range m.Reactions {
				users := have[keys[i]]
				if got.Key != keys[i] || got.Count != uint64(len(users)) || !slices.Equal(got.Users, users[:min(len(users), protocol.MaxReactionUsers)]) {
					t.Fatalf("reaction %d is %v, want %q of %v", i, got, keys[i], users)
				}
			}
		}
	})
}

// TestWhoRecalls: who may recall whose message in a group, and until when.
func TestWhoRecalls(t *testing.T) {
	const owner, admin, member = pb.Role_ROLE_OWNER, pb.Role_ROLE_ADMIN, pb.Role_ROLE_MEMBER
	for _, test := range []struct {
		role          pb.Role
		user, sender  string
		soon, anytime bool
	}{
		{owner, "ann", "ann", true, true},
		{owner, "ann", "bob", true, true},
		{admin, "bob", "cid", true, true},
		{admin, "bob", "bob", true, true},
		{admin, "bob", "ann", false, false}, // the owner's
		{member, "cid", "cid", true, false},
		{member, "cid", "bob", false, false},
		{member, "cid", "ann", false, false},
	} {
		for _, late := range []bool{false, true} {
			p := newPoster(t)
			target := p.text(test.sender, "one")
			c := Command{Kind: pb.Kind_KIND_RECALL, Target: target}
			if late {
				c.TimeMs = p.message(target).TimeMs + p.rules.RecallWindow.Milliseconds() + 1
			}
			want := protocol.Code(0)
			switch {
			case test.soon && late && !test.anytime:
				want = pb.Code_CODE_TOO_LATE
			case !test.soon:
				want = pb.Code_CODE_NOT_ALLOWED
			}
			r, _ := p.post(test.user, test.role, c)
			if got := protocol.Code(0); r.Err != nil {
				got = protocol.CodeOf(r.Err)
				if got != want {
					t.Errorf("%+v, late %v: %v", test, late, r.Err)
				}
			} else if m := p.message(target); want != 0 || m.State != pb.MessageState_MESSAGE_STATE_RECALLED || m.RecalledBy != test.user {
				t.Errorf("%+v, late %v: recalled, want %s: %v", test, late, want.Name(), m)
			}
			p.close()
		}
	}
}

// TestRulesOfSend: what the server's own limits refuse, and what they allow.
func TestRulesOfSend(t *testing.T) {
	p := newPoster(t)
	defer p.close()
	p.rules.MaxMentions, p.rules.MaxTTL = 2, time.Second
	media, err := proto.Marshal(&pb.Media{ObjectKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	text := Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("x")}
	for _, test := range []struct {
		name   string
		change func(*Command)
		want   protocol.Code
	}{
		{"two mentions", func(c *Command) { c.Mentions = manyUsers(2) }, 0},
		{"three mentions", func(c *Command) { c.Mentions = manyUsers(3) }, pb.Code_CODE_TOO_MANY_MENTIONS},
		{"long ttl", func(c *Command) { c.TTLMs = 1001 }, pb.Code_CODE_BAD_ARGUMENT},
		{"longest ttl", func(c *Command) { c.TTLMs = 1000 }, 0},
		{"media", func(c *Command) { c.Kind, c.Body = pb.Kind_KIND_MEDIA, media }, 0}, // at seq 3
		{"edit of media", func(c *Command) { c.Kind, c.Target, c.Body = pb.Kind_KIND_EDIT, 3, media }, 0},
		{"edit of media by text", func(c *Command) { c.Kind, c.Target = pb.Kind_KIND_EDIT, 3 }, pb.Code_CODE_BAD_ARGUMENT},
		{"edit of text by what isn't", func(c *Command) { c.Kind, c.Target, c.Body = pb.Kind_KIND_EDIT, 1, []byte{0xff} }, pb.Code_CODE_BAD_ARGUMENT},
	} {
		c := text
		test.change(&c)
		r, _ := p.post("bob", pb.Role_ROLE_MEMBER, c)
		got := protocol.Code(0)
		if r.Err != nil {
			got = protocol.CodeOf(r.Err)
		}
		if got != test.want {
			t.Errorf("%s: got %v, want %s", test.name, r.Err, test.want.Name())
		}
	}
}

// TestGroupMessage: in a group a message counts for all alike, goes to all
// members, and one who joined later can't change what was before.
func TestGroupMessage(t *testing.T) {
	p := newPoster(t)
	defer p.close()
	p.text("ann", "one")
	r, effects := p.post("bob", pb.Role_ROLE_MEMBER, Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("two")})
	if m := p.message(r.Seq); m.Count != 2 || m.SenderCount != 0 {
		t.Errorf("counts %d and %d, want 2 and 0", m.Count, m.SenderCount)
	}
	if len(effects) != 1 || !effects[0].Group || len(effects[0].Users) != 0 {
		t.Errorf("effects %+v", effects)
	}
	late := &sender{group: &pb.Group{}, row: msgstore.Member{Membership: &pb.Membership{FromSeq: 2}}}
	cleared := &sender{group: &pb.Group{}, row: msgstore.Member{Membership: &pb.Membership{FromSeq: 1, ClearedSeq: 1}}}
	for _, from := range []*sender{late, cleared} {
		tx := p.store.Begin()
		c := Command{
			Op: OpSend, Conversation: posted, User: "cid", ClientID: "x", Rules: &p.rules,
			Kind: pb.Kind_KIND_REACTION, Body: []byte("+"), Target: 1,
		}
		r, _, err := post(tx, 100, &c, from, nil)
		if err != nil || protocol.CodeOf(r.Err) != pb.Code_CODE_NOT_FOUND {
			t.Errorf("a reaction to what one can't read: %v, %v", r.Err, err)
		}
		tx.Discard()
	}
}
