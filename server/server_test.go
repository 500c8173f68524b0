package server_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
)

const aliceBob = "d:alice:bob"

func TestAMessageIsStoredAckedAndPushed(t *testing.T) {
	n := startNode(t, nil)
	alice, phone, tablet := n.login("alice", "phone"), n.login("bob", "phone"), n.login("bob", "tablet")
	laptop := n.login("alice", "laptop")

	sent := alice.send(aliceBob, "m1", "hello")
	if sent.Seq != 1 || sent.Id == 0 || sent.TimeMs == 0 || sent.Duplicate {
		t.Fatalf("SENT %v", sent)
	}
	var first pb.Message
	for _, c := range []*client{phone, tablet, laptop} {
		var m pb.Message
		c.push(protocol.TypeMessage, &m)
		if m.Seq != 1 || m.Id != sent.Id || m.TimeMs != sent.TimeMs || m.Sender != "alice" || string(m.Body) != "hello" {
			t.Fatalf("MESSAGE %v", &m)
		}
		proto.Merge(&first, &m)
	}
	// The sender's own device learns it from the ack alone.
	if got := alice.pull(aliceBob); len(got) != 1 || got[0].Id != sent.Id {
		t.Fatalf("pulled %v", got)
	}
	for _, f := range alice.pushed {
		t.Errorf("the sending device was pushed a %s", f.Type)
	}
}

func TestAResendGetsTheFirstAckAlsoAfterARestart(t *testing.T) {
	n := startNode(t, nil)
	first := n.login("alice", "phone").send(aliceBob, "m1", "hello")
	for range 2 {
		alice := n.login("alice", "phone")
		again := alice.send(aliceBob, "m1", "hello")
		if again.Seq != first.Seq || again.Id != first.Id || again.TimeMs != first.TimeMs || !again.Duplicate {
			t.Fatalf("first %v, again %v", first, again)
		}
		alice.refused(protocol.TypeSend, textTo(aliceBob, "m1", "other"), pb.Code_CODE_CLIENT_ID_REUSED)
		wantDense(t, alice.pull(aliceBob), 1)
		n.restart()
	}
}

func TestTheFirstFlightMayBePipelined(t *testing.T) {
	n := startNode(t, nil)
	c := n.dial()
	flight := protocol.AppendProto(nil, protocol.TypeConnect, 1, n.connect("alice", "phone"))
	flight = protocol.AppendProto(flight, protocol.TypeSync, 2, &pb.Sync{})
	for i := range 100 {
		flight = protocol.AppendProto(flight, protocol.TypeSend, uint32(3+i), textTo(aliceBob, clientID(i), "hi"))
	}
	c.write(flight)
	answered := make(map[uint32]protocol.Type)
	for len(answered) < 102 {
		f, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := answered[f.Request]; twice {
			t.Fatalf("request %d was answered twice", f.Request)
		}
		answered[f.Request] = f.Type
		if f.Type == protocol.TypeSent {
			var sent pb.Sent
			c.decode(f, protocol.TypeSent, &sent)
			if sent.Seq != uint64(f.Request-2) {
				t.Fatalf("request %d got seq %d: a sender's order was not kept", f.Request, sent.Seq)
			}
		}
	}
	if answered[1] != protocol.TypeConnected || answered[2] != protocol.TypeSynced {
		t.Fatalf("answers %v", answered)
	}
}

func TestOfflineMessagesComeBySyncAndPull(t *testing.T) {
	n := startNode(t, nil)
	alice := n.login("alice", "phone")
	const count = 700 // more than a page
	for i := range count {
		alice.request(protocol.TypeSend, textTo(aliceBob, clientID(i), "hi"))
		if i%100 == 99 {
			alice.answer(alice.last)
		}
	}
	n.restart()
	bob := n.login("bob", "phone")
	var synced pb.Synced
	bob.call(protocol.TypeSync, &pb.Sync{}, protocol.TypeSynced, &synced)
	if len(synced.Conversations) != 1 || synced.More {
		t.Fatalf("SYNCED %v", &synced)
	}
	if c := synced.Conversations[0]; c.HeadSeq != count || c.Unread != count || c.Last.GetSeq() != count {
		t.Fatalf("state %v", c)
	}
	wantDense(t, bob.pull(aliceBob), count)

	// Nothing has changed since.
	bob.call(protocol.TypeSync, &pb.Sync{Cursor: synced.Cursor}, protocol.TypeSynced, &synced)
	if len(synced.Conversations) != 0 {
		t.Fatalf("SYNCED %v", &synced)
	}
}

func TestReceiptsReachThePeerAndOnesOwnDevices(t *testing.T) {
	n := startNode(t, nil)
	alice, bob, tablet := n.login("alice", "phone"), n.login("bob", "phone"), n.login("bob", "tablet")
	alice.send(aliceBob, "m1", "one")
	alice.send(aliceBob, "m2", "two")
	var marked pb.Marked
	bob.call(protocol.TypeMark, &pb.Mark{Conversation: aliceBob, ReadSeq: 1, DeliveredSeq: 2}, protocol.TypeMarked, &marked)
	if marked.ReadSeq != 1 || marked.DeliveredSeq != 2 || marked.Unread != 1 {
		t.Fatalf("MARKED %v", &marked)
	}
	var atAlice, atTablet pb.Receipt
	alice.push(protocol.TypeReceipt, &atAlice)
	tablet.push(protocol.TypeReceipt, &atTablet)
	if atAlice.User != "bob" || atAlice.ReadSeq != 1 || atAlice.DeliveredSeq != 2 || atAlice.Unread != 0 {
		t.Errorf("the sender got %v", &atAlice)
	}
	if atTablet.User != "bob" || atTablet.ReadSeq != 1 || atTablet.Unread != 1 {
		t.Errorf("the reader's tablet got %v", &atTablet)
	}
	var synced pb.Synced
	alice.call(protocol.TypeSync, &pb.Sync{}, protocol.TypeSynced, &synced)
	if c := synced.Conversations[0]; c.PeerReadSeq != 1 || c.PeerDeliveredSeq != 2 {
		t.Errorf("state %v", c)
	}
}

func TestWhoTellsOnlyThoseWithAConversation(t *testing.T) {
	n := startNode(t, nil)
	alice := n.login("alice", "phone")
	n.login("bob", "phone")
	n.login("eve", "phone")
	alice.send(aliceBob, "m1", "hi")
	var present pb.Present
	alice.call(protocol.TypeWho, &pb.Who{Users: []string{"bob", "eve", "nobody"}}, protocol.TypePresent, &present)
	if len(present.Online) != 1 || present.Online[0] != "bob" {
		t.Fatalf("online %v", present.Online)
	}
}

func TestTakeoverIsFenced(t *testing.T) {
	n := startNode(t, nil)
	old, bob := n.login("alice", "phone"), n.login("bob", "phone")
	current := n.login("alice", "phone")
	if code := old.closed(); code != pb.Code_CODE_REPLACED {
		t.Fatalf("the old connection ended with %s", code.Name())
	}
	// The old connection's death left the new session where it was.
	bob.send(aliceBob, "m1", "hi")
	var m pb.Message
	current.push(protocol.TypeMessage, &m)
}

func TestATokenThatExpiresEndsTheSessionUnlessRenewed(t *testing.T) {
	clock := newClock()
	n := startNode(t, func(c *server.Config) { c.Now, c.Net.Loops = clock.now, 1 }) // one loop: both are looked at together
	login := func(device string) *client {
		req := n.connect("alice", device)
		req.Token, req.HeartbeatMs = n.token("alice", 5*time.Minute), uint32(n.cfg.Session.HeartbeatMax.Milliseconds())
		c := n.dial()
		c.call(protocol.TypeConnect, req, protocol.TypeConnected, &pb.Connected{})
		return c
	}
	short, renewed := login("phone"), login("tablet")
	var r pb.Renewed
	renewed.call(protocol.TypeRenew, &pb.Renew{Token: n.token("alice", time.Hour)}, protocol.TypeRenewed, &r)
	if left := time.UnixMilli(r.ExpiresMs).Sub(clock.now()); left < 50*time.Minute {
		t.Fatalf("renewed for %v", left)
	}
	renewed.refused(protocol.TypeRenew, &pb.Renew{Token: n.token("bob", time.Hour)}, pb.Code_CODE_TOKEN_CLAIMS)

	clock.advance(5*time.Minute + 2*n.cfg.Auth.Leeway)
	if code := short.closed(); code != pb.Code_CODE_TOKEN_EXPIRED {
		t.Fatalf("ended with %s", code.Name())
	}
	renewed.call(protocol.TypeSync, &pb.Sync{}, protocol.TypeSynced, &pb.Synced{})
}

func TestSilentPeersAreClosedAndPingsKeepASession(t *testing.T) {
	clock := newClock()
	n := startNode(t, func(c *server.Config) { c.Now, c.Net.Loops = clock.now, 1 }) // one loop: both are looked at together
	login := func(device string) *client {
		req := n.connect("alice", device)
		req.HeartbeatMs = 10_000
		c := n.dial()
		var connected pb.Connected
		c.call(protocol.TypeConnect, req, protocol.TypeConnected, &connected)
		if connected.HeartbeatMs != 10_000 {
			t.Fatalf("CONNECTED %v", &connected)
		}
		return c
	}
	lively, silent := login("lively"), login("silent")
	clock.advance(14 * time.Second)
	lively.last++
	lively.write(protocol.AppendHeader(nil, protocol.TypePing, lively.last, 0))
	if f := lively.answer(lively.last); f.Type != protocol.TypePong {
		t.Fatalf("a ping was answered with %s", f.Type)
	}
	clock.advance(2 * time.Second) // 1.5 intervals since the silent one was heard of
	if code := silent.closed(); code != pb.Code_CODE_HEARTBEAT_TIMEOUT {
		t.Errorf("the silent peer was closed with %s", code.Name())
	}
	lively.call(protocol.TypeSync, &pb.Sync{}, protocol.TypeSynced, &pb.Synced{})
}

func TestUnauthenticatedPeersHaveADeadline(t *testing.T) {
	clock := newClock()
	n := startNode(t, func(c *server.Config) { c.Now, c.Net.Loops = clock.now, 1 })
	mute, slow := n.dial(), n.dial()
	slow.write(protocol.AppendHeader(nil, protocol.TypeConnect, 1, 100)) // and no more
	// The one loop accepts in order: once alice is in, the others' time runs.
	alice := n.login("alice", "phone")
	clock.advance(n.cfg.Session.ConnectTimeout + n.cfg.Net.Tick)
	for _, c := range []*client{mute, slow} {
		if code := c.closed(); code != pb.Code_CODE_CONNECT_TIMEOUT {
			t.Errorf("closed with %s", code.Name())
		}
	}
	alice.call(protocol.TypeSync, &pb.Sync{}, protocol.TypeSynced, &pb.Synced{})
}

func TestByeEndsTheSession(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	alice.send(aliceBob, "m1", "hi")
	alice.write(protocol.AppendHeader(nil, protocol.TypeBye, 0, 0))
	if code := alice.closed(); code != 0 {
		t.Fatalf("BYE was answered with %s", code.Name())
	}
	eventually(t, "alice is gone", func() bool {
		var present pb.Present
		bob.call(protocol.TypeWho, &pb.Who{Users: []string{"alice"}}, protocol.TypePresent, &present)
		return len(present.Online) == 0
	})
}

func TestABackupIsAStoreOfAnotherEpoch(t *testing.T) {
	n := startNode(t, nil)
	alice := n.login("alice", "phone")
	alice.send(aliceBob, "m1", "before")
	dir := filepath.Join(t.TempDir(), "backup")
	if err := n.Backup(dir); err != nil {
		t.Fatal(err)
	}
	if err := n.Backup(dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("a backup over a backup: %v", err)
	}
	alice.send(aliceBob, "m2", "after")
	var synced pb.Synced
	alice.call(protocol.TypeSync, &pb.Sync{}, protocol.TypeSynced, &synced)
	old := n.Epoch()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	n.cfg.Store.Dir = dir
	n.start()
	if n.Epoch() == old {
		t.Error("the restored store has the old epoch")
	}
	alice = n.login("alice", "phone")
	wantDense(t, alice.pull(aliceBob), 1)
	var again pb.Synced
	alice.call(protocol.TypeSync, &pb.Sync{Cursor: synced.Cursor}, protocol.TypeSynced, &again)
	if !again.Reset_ || len(again.Conversations) != 1 || again.Epoch != n.Epoch() {
		t.Errorf("SYNCED with a cursor of another epoch: %v", &again)
	}
	// The epoch stays over an ordinary restart.
	now := n.Epoch()
	n.restart()
	if n.Epoch() != now {
		t.Error("a restart changed the epoch")
	}
}

func TestAFullDiskRefusesMessagesAndStillReads(t *testing.T) {
	free := make(chan uint64, 1)
	free <- 1 << 40
	n := startNode(t, func(c *server.Config) {
		c.Store.FreeSpace = func(string) (uint64, error) {
			f := <-free
			free <- f
			return f, nil
		}
	})
	alice := n.login("alice", "phone")
	alice.send(aliceBob, "m1", "hi")
	<-free
	free <- 1000
	i := 1
	refused := func() bool {
		i++
		f := alice.answer(alice.request(protocol.TypeSend, textTo(aliceBob, clientID(i), "hi")))
		if f.Type == protocol.TypeSent {
			return false
		}
		alice.wantError(f, pb.Code_CODE_STORAGE_FULL)
		return true
	}
	eventually(t, "sends are refused", refused)
	alice.pull(aliceBob)
	<-free
	free <- 1 << 40
	eventually(t, "sends are accepted again", func() bool { return !refused() })
}

func TestAPortInUseLeavesNothingOpen(t *testing.T) {
	n := startNode(t, nil)
	for _, taken := range []func(*server.Config){
		func(c *server.Config) { c.Net.Addr = n.Addr() },
		func(c *server.Config) { c.Admin.Addr = n.AdminAddr() },
	} {
		cfg := n.cfg
		cfg.Store.Dir = filepath.Join(t.TempDir(), "data")
		taken(&cfg)
		for range 2 { // the second finds the directory unlocked
			s, err := server.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(); err == nil {
				t.Error("two servers on one port")
			}
			if err := s.Close(); err == nil {
				t.Error("Close after a failed Start doesn't say why it failed")
			}
		}
	}
}

func TestTwoServersOnOneDirectory(t *testing.T) {
	n := startNode(t, nil)
	if s, err := server.New(n.cfg); err == nil {
		_ = s.Close()
		t.Fatal("the second one started")
	}
}

func TestPushedAndPulledBytesAreTheSame(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	alice.send(aliceBob, "m1", "hello")
	var pushed pb.Message
	bob.push(protocol.TypeMessage, &pushed)
	pulled := bob.pull(aliceBob)
	a, errA := proto.Marshal(&pushed)
	b, errB := proto.Marshal(pulled[0])
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("pushed %x, pulled %x", a, b)
	}
}

// eventually polls, for what gives no sign of itself.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
