package fill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var small = Plan{Users: 7, Conversations: 5, Old: 3, Away: 4, Behind: 2, Missed: 6, Size: 40}

// TestFill reads everything back, with what a server reads it with.
func TestFill(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	for _, again := range []bool{false, true} { // what is there stays
		old, err := Old(t.Context(), cfg, small)
		if err != nil {
			t.Fatal(err)
		}
		if want := 7 * 5 * 3; old.Messages != want || small.OldMessages() != want {
			t.Errorf("%d and %d old messages, want %d", old.Messages, small.OldMessages(), want)
		}
		if !again {
			check(t, cfg.Dir, false)
		}
		missed, err := Missed(t.Context(), cfg, small)
		if err != nil {
			t.Fatal(err)
		}
		if want := 4 * 2 * 6; missed.Messages != want || small.MissedMessages() != want {
			t.Errorf("%d and %d missed messages, want %d", missed.Messages, small.MissedMessages(), want)
		}
		check(t, cfg.Dir, true)
	}
}

func check(t *testing.T, dir string, missed bool) {
	t.Helper()
	opts := msgstore.DefaultOptions()
	opts.Dir = dir
	store, err := msgstore.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for i := range small.Users {
		behind := map[int]bool{}
		for k := range small.Behind {
			behind[small.BehindAt(i, k)] = missed && i < small.Away
		}
		if len(behind) != small.Behind {
			t.Errorf("user %d is behind in %v", i, behind)
		}
		friends := map[string]bool{}
		for j := range small.Conversations {
			friends[small.Friend(i, j)] = true
			checkConversation(t, store, small.User(i), small.Friend(i, j), behind[j])
		}
		rows := 0
		err := store.Members(small.User(i), func(int) bool { return true }, func(string, msgstore.Member) error {
			rows++
			return nil
		})
		if err != nil || rows != small.Conversations || len(friends) != rows {
			t.Errorf("user %d: %d conversations with %d friends, %v", i, rows, len(friends), err)
		}
	}
}

func checkConversation(t *testing.T, store *msgstore.Store, user, friend string, missed bool) {
	t.Helper()
	id := protocol.DirectID(user, friend)
	var want []string
	for n := range small.Old {
		want = append(want, string(client.AppendBody(nil, []string{friend, user}[n%2], uint32(n/2), 0, small.Size)))
	}
	if missed {
		for n := range small.Missed {
			want = append(want, string(client.AppendBody(nil, friend, uint32(n), 0, small.Size)))
		}
	}
	head, _, err := store.Head(id)
	if err != nil || head.Seq != uint64(len(want)) {
		t.Fatalf("%s: head %d, %v, want %d", id, head.Seq, err, len(want))
	}
	for n, body := range want {
		wire, _, err := store.Message(id, uint64(n+1))
		var m pb.Message
		if err == nil {
			err = proto.Unmarshal(wire, &m)
		}
		if err != nil || string(m.Body) != body || m.Id == 0 || m.TimeMs == 0 {
			t.Errorf("%s: seq %d is %v, %v", id, n+1, &m, err)
		}
	}
	row, _, err := store.Member(user, id)
	if err != nil {
		t.Fatal(err)
	}
	read := func(conversation string, seq uint64) ([]byte, error) {
		wire, _, err := store.Message(conversation, seq)
		return wire, err
	}
	unread, err := chat.Unread(read, store.GoneBetween, head, row, id, user, 0)
	if err != nil || unread != small.Unread(missed) {
		t.Errorf("%s: %d unread, %v, want %d", id, unread, err, small.Unread(missed))
	}
}

func TestFillStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	plan := Plan{Users: 100, Conversations: 10, Old: 20, Size: 30}
	if _, err := Old(ctx, Config{Dir: t.TempDir(), Progress: &out}, plan); !errors.Is(err, context.Canceled) {
		t.Errorf("20,000 messages after the end: %v", err)
	}
}

func TestPlan(t *testing.T) {
	for _, change := range []func(*Plan){
		func(p *Plan) { p.Users = 0 },
		func(p *Plan) { p.Users = stride },
		func(p *Plan) { p.Conversations = 0 },
		func(p *Plan) { p.Old = 0 },
		func(p *Plan) { p.Away = p.Users + 1 },
		func(p *Plan) { p.Behind = p.Conversations + 1 },
		func(p *Plan) { p.Missed = -1 },
		func(p *Plan) { p.Size = client.StampSize - 1 },
	} {
		p := small
		change(&p)
		if _, err := Old(t.Context(), Config{Dir: t.TempDir()}, p); err == nil || !strings.Contains(err.Error(), "fill") {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// BenchmarkFill writes a message at a time, in many conversations.
func BenchmarkFill(b *testing.B) {
	for _, each := range []int{2, 20, 200} {
		b.Run(fmt.Sprintf("%d-each", each), func(b *testing.B) {
			plan := Plan{Users: max(1, b.N/(100*each)), Conversations: 100, Old: each, Size: 256}
			r, err := Old(b.Context(), Config{Dir: b.TempDir()}, plan)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(r.Messages)/r.Took.Seconds(), "msgs/s")
		})
	}
}
