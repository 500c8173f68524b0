package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
)

// gate holds back the syncs of the store's log while it is shut.
type gate struct {
	passage chan struct{} // empty while the gate is shut
}

func newGate() *gate {
	g := &gate{passage: make(chan struct{}, 1)}
	g.open()
	return g
}

func (g *gate) shut() { <-g.passage }
func (g *gate) open() { g.passage <- struct{}{} }

// on is fs with the gate in it.
func (g *gate) on(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if strings.HasSuffix(op.Path, ".log") {
				g.shut()
				g.open()
			}
		}
		return nil
	}))
}

// Messages that were accepted before the drain are stored and acked, though the
// disk takes its time; those that come in it are refused, and none is lost or
// stored in secret.
func TestShutdownAcksWhatWasAcceptedAndSaysWhenToReturn(t *testing.T) {
	disk := newGate()
	n := startNode(t, func(c *server.Config) {
		c.Store.FS = disk.on(vfs.Default)
		c.Drain.ReconnectAfter, c.Drain.Timeout = 3*time.Second, 2*patience
	})
	alice := n.login("alice", "phone")
	alice.send(aliceBob, clientID(0), "hi")
	disk.shut()
	const accepted, late = 400, 20
	first := alice.last + 1
	for i := range accepted {
		alice.request(protocol.TypeSend, textTo(aliceBob, clientID(1+i), "hi"))
	}
	last := alice.last
	alice.last++
	alice.write(protocol.AppendHeader(nil, protocol.TypePing, alice.last, 0))
	alice.answer(alice.last) // so all that was sent before has been read
	for _, f := range alice.pushed {
		t.Fatalf("unexpected %s for request %d before the disk had a part in it", f.Type, f.Request)
	}

	down := make(chan error, 1)
	go func() { down <- n.Shutdown(context.Background()) }()
	var away pb.GoAway
	alice.push(protocol.TypeGoAway, &away)
	if away.ReconnectAfterMs < 3000 || away.ReconnectAfterMs > 6000 || away.Code != pb.Code_CODE_DRAINING {
		t.Errorf("GOAWAY %v", &away)
	}
	for i := range late {
		alice.refused(protocol.TypeSend, textTo(aliceBob, clientID(1+accepted+i), "hi"), pb.Code_CODE_DRAINING)
	}
	select {
	case err := <-down:
		t.Fatalf("the server is down (%v) before what it accepted is stored", err)
	default:
	}
	disk.open()
	acked := map[uint32]bool{}
	for {
		f, err := alice.next()
		if err != nil {
			break
		}
		if f.Type != protocol.TypeSent || acked[f.Request] || f.Request < first || f.Request > last {
			t.Fatalf("unexpected %s for request %d", f.Type, f.Request)
		}
		acked[f.Request] = true
	}
	_ = alice.nc.Close() // the server waits for that
	if err := <-down; err != nil {
		t.Fatal(err)
	}
	if len(acked) != accepted {
		t.Errorf("%d of the %d that were accepted are acked", len(acked), accepted)
	}
	n.start()
	wantDense(t, n.login("bob", "phone").pull(aliceBob), 1+accepted)
}
