package chat

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func contactRequest(user, peer string) *Proposal {
	return &Proposal{Command: Command{
		Op: OpContact, Conversation: protocol.DirectID(user, peer), User: user,
		Contact: &pb.ContactRequest{User: peer, Action: pb.ContactAction_CONTACT_ACTION_REQUEST},
	}}
}

// noticeKey names a notice of these tests: user asked peer.
type noticeKey struct{ user, peer string }

// noticesIn counts the notices in all system conversations.
func noticesIn(t testing.TB, store *msgstore.Store) map[noticeKey]int {
	t.Helper()
	found := map[noticeKey]int{}
	eachNotice(t, store, func(user string, n *pb.Notice) { found[noticeKey{n.Actor, user}]++ })
	return found
}

// eachNotice calls f with every notice in the system conversation of every user.
func eachNotice(t testing.TB, store *msgstore.Store, f func(user string, n *pb.Notice)) {
	t.Helper()
	for p := range store.Partitions() {
		err := store.Conversations(p, func(conversation string, _ uint64) error {
			user, system := protocol.SystemUser(conversation)
			if !system {
				return nil
			}
			r, err := store.Range(conversation, 1, 0, false, 1<<30, 1<<30, nil)
			if err != nil {
				return err
			}
			var page pb.Pulled
			if err := proto.Unmarshal(r.Encoded, &page); err != nil {
				return err
			}
			for _, m := range page.Messages {
				notice := &pb.Notice{}
				if err := proto.Unmarshal(m.Body, notice); err != nil {
					return err
				}
				f(user, notice)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// waitingIn counts the follow-ups that are in the store.
func waitingIn(t testing.TB, store *msgstore.Store) (n int) {
	t.Helper()
	for p := range store.Partitions() {
		if err := store.FollowUps(p, func(string, uint64, int, string, []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func wantNotices(t testing.TB, store *msgstore.Store, want map[noticeKey]int) {
	t.Helper()
	if got := noticesIn(t, store); !maps.Equal(got, want) {
		t.Errorf("there are %d notices, want %d: %v", len(got), len(want), got)
	}
	if n := waitingIn(t, store); n > 0 {
		t.Errorf("%d follow-ups are still in the store", n)
	}
}

// TestFollowUpsArrive has more of them than the relay has room for, and closes
// the log with all that is under way.
func TestFollowUpsArrive(t *testing.T) {
	const users = 3 * relayRoom
	store := openStore(t, storeOptions(vfs.NewMem()))
	sink := newCollector()
	e, err := NewEmbedded(testConfig(t), store, sink)
	if err != nil {
		t.Fatal(err)
	}
	want := map[noticeKey]int{}
	for i := range users {
		key := noticeKey{fmt.Sprintf("u%d", i), fmt.Sprintf("v%d", i%100)}
		want[key] = 1
		submit(t, e, contactRequest(key.user, key.peer))
	}
	closeLog(t, e)
	wantNotices(t, store, want)

	// The one who is asked is told, as of any message.
	told := map[noticeKey]int{}
	for _, o := range sink.wait(t, 2*users) {
		for _, effect := range o.Effects {
			if effect.Kind != EffectMessage {
				continue
			}
			f, _, err := protocol.Parse(effect.Frame, protocol.MaxBody)
			if err != nil {
				t.Fatal(err)
			}
			m, notice := &pb.Message{}, &pb.Notice{}
			if err := proto.Unmarshal(f.Body, m); err != nil {
				t.Fatal(err)
			}
			if err := proto.Unmarshal(m.Body, notice); err != nil {
				t.Fatal(err)
			}
			told[noticeKey{notice.Actor, effect.Users[0]}]++
		}
	}
	if !maps.Equal(told, want) {
		t.Errorf("%d users were told, want %d", len(told), len(want))
	}
}

// TestFollowUpsOfTheLastRun begins with what another run has left: follow-ups
// of which none, one or both steps are done.
func TestFollowUpsOfTheLastRun(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	rules := DefaultRules()
	apply := func(c Command) []Effect {
		c.Rules = &rules
		p := store.PartitionOf(c.Conversation)
		c.MessageID = store.NextID()
		tx := store.Begin()
		r, effects, err := Apply(tx, store.Applied(p)+1, &c, nil)
		if err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		return effects
	}
	want := map[noticeKey]int{}
	for i := range 3 * relayRoom {
		key := noticeKey{fmt.Sprintf("u%d", i), fmt.Sprintf("v%d", i%100)}
		want[key] = 1
		effects := apply(contactRequest(key.user, key.peer).Command)
		up := effects[len(effects)-1]
		if up.Kind != EffectFollowUp {
			t.Fatalf("the last effect is %+v", up)
		}
		id := followUpID{store.PartitionOf(up.Source), up.Index, up.FollowUp}
		if i%3 > 0 {
			apply(Command{Op: OpNotify, Conversation: up.Conversation, ClientID: id.clientID(), Notice: up.Notice})
		}
		if i%3 > 1 {
			apply(Command{Op: OpForget, Conversation: up.Source, Index: up.Index, FollowUp: up.FollowUp})
		}
	}
	if n := waitingIn(t, store); n != 2*relayRoom {
		t.Fatalf("%d follow-ups wait, want %d", n, 2*relayRoom)
	}
	e := startLog(t, testConfig(t), store, newCollector())
	eventually(t, func() bool { return waitingIn(t, store) == 0 })
	wantNotices(t, store, want)
	closeLog(t, e)
}

// TestFollowUpsBehindABadOne: one that can't be carried out, by whatever defect,
// holds up no other.
func TestFollowUpsBehindABadOne(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	request := contactRequest("ann", "bob").Command
	p := store.PartitionOf(request.Conversation)
	rules := DefaultRules()
	request.Rules, request.MessageID = &rules, store.NextID()
	tx := store.Begin()
	if err := tx.PutFollowUp(1, request.Conversation, 0, "s:bob", []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Apply(tx, 2, &request, nil); err != nil {
		t.Fatal(err)
	}
	tx.SetApplied(p, 2)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	e := startLog(t, testConfig(t), store, newCollector())
	eventually(t, func() bool { return waitingIn(t, store) == 1 })
	closeLog(t, e)
	if got := noticesIn(t, store); !maps.Equal(got, map[noticeKey]int{{"ann", "bob"}: 1}) {
		t.Errorf("the notices are %v", got)
	}
}

// TestFollowUpsWaitForRoom has queues so short that they refuse most of what
// comes.
func TestFollowUpsWaitForRoom(t *testing.T) {
	disk := &diskFS{FS: vfs.NewMem()}
	store := openStore(t, storeOptions(disk))
	cfg := testConfig(t)
	cfg.QueueCommands = 2
	e := startLog(t, cfg, store, newCollector())
	want := map[noticeKey]int{}
	for i := range 30 {
		want[noticeKey{fmt.Sprintf("u%d", i), "v"}] = 1
	}
	release := disk.stall()
	defer release()
	var asking sync.WaitGroup
	asking.Go(func() {
		for key := range want {
			submit(t, e, contactRequest(key.user, key.peer))
		}
	})
	eventually(t, func() bool { return e.Stats().Busy > 0 })
	release()
	asking.Wait()
	closeLog(t, e)
	wantNotices(t, store, want)
}

// TestFollowUpsInALogThatFails lets Close return where they can't be carried
// out.
func TestFollowUpsInALogThatFails(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	cfg := testConfig(t)
	failed := make(chan struct{})
	cfg.Fatal = func(error) { close(failed) }
	s := defaultSteps(store)
	s.apply = func(tx *msgstore.Tx, index uint64, c *Command, effects []Effect) (Result, []Effect, error) {
		if c.Op == OpNotify {
			return Result{}, effects, fmt.Errorf("out of order")
		}
		return Apply(tx, index, c, effects)
	}
	e, err := newEmbedded(cfg, store, newCollector(), s)
	if err != nil {
		t.Fatal(err)
	}
	submit(t, e, contactRequest("ann", "bob"))
	<-failed
	if err := e.Close(t.Context()); err == nil {
		t.Error("Close returned no error")
	}
	if n := waitingIn(t, store); n != 1 {
		t.Errorf("%d follow-ups wait, want the one for the next start", n)
	}
}

// BenchmarkFollowUps has users ask each other to be contacts, on a real disk with
// synced commits, until all notices are where they belong.
func BenchmarkFollowUps(b *testing.B) {
	o := msgstore.DefaultOptions()
	o.Dir = b.TempDir()
	o.MinFree = 0
	o.Logger = discard
	store := openStore(b, o)
	cfg := DefaultConfig()
	cfg.Logger = discard
	e, err := NewEmbedded(cfg, store, sinkFunc(func([]Outcome) {}))
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	b.ResetTimer()
	for i := range b.N {
		submit(b, e, contactRequest(fmt.Sprintf("u%d", i), fmt.Sprintf("v%d", i%1000)))
	}
	closeLog(b, e)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "notices/s")
}
