package call

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// Payloads are handed over once and in order whatever is sent twice, and wait for
// what they need.
func TestPayloads(t *testing.T) {
	n, alice, _, phone, _ := four()
	c := alice.place(t, "bob", "offer")
	must(t, c.Send([]byte("early"))) // waits until somebody answers
	n.settle()
	in := phone.one(t)
	if err := in.Send(nil); !errors.Is(err, ErrState) {
		t.Errorf("before it was answered: %v", err)
	}
	must(t, in.Accept(nil))
	must(t, in.Send([]byte("waits"))) // for the confirmation
	n.settle()

	// Without a connection they wait, and are put together.
	alice.fail = godwit.ErrNotConnected
	before := n.sent
	for i := range 10 {
		must(t, c.Send(fmt.Append(nil, i)))
	}
	n.settle()
	alice.fail = nil
	n.pass(DefaultTimes().Accept)
	if sent := n.sent - before; sent > 4 { // one that failed, a sign of life, the rest in one
		t.Errorf("%d signals", sent)
	}
	want := []string{"early", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	if got := phone.payloads[in]; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := alice.payloads[c]; !slices.Equal(got, []string{"waits"}) {
		t.Errorf("%q", got)
	}

	// The server took one and its answer was lost: it comes again, with its number.
	again := func(first uint64, payloads ...string) {
		m := &pb.CallSignal{Call: c.ID(), First: first}
		for _, p := range payloads {
			m.Payloads = append(m.Payloads, []byte(p))
		}
		body, err := proto.Marshal(m)
		must(t, err)
		phone.calls.Handle(godwit.Signal{Conversation: "d:alice:bob", User: "alice", Device: "phone", Type: kindCandidate, Body: body})
	}
	phone.told = nil
	again(9, "8", "9", "new")
	again(11, "new")
	again(14, "after a gap")
	again(12, "late")
	phone.wantTold(t, "payload new", "payload after a gap")
}

func TestPayloadLimits(t *testing.T) {
	b := newBench(t)
	if _, err := b.calls.Place("bob", make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	// A peer's id may be as long as an id can be.
	id := strings.Repeat("x", protocol.MaxID)
	b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: id})
	c := b.one(t)
	most := bytes.Repeat([]byte("x"), MaxPayload)
	if err := c.Accept(make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	must(t, c.Accept(most))
	n := 0
	for ; c.Send(most) == nil; n++ {
		if n > 100 {
			t.Fatal("there is no limit")
		}
	}
	if err := c.Send(most); n*MaxPayload > MaxPending || !errors.Is(err, ErrTooMany) {
		t.Errorf("%d of them: %v", n, err)
	}
	if err := c.Send(make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	b.hears("bob/phone", kindConfirm, &pb.CallSignal{Call: id})
	b.net.settle()
	candidates := 0
	for _, s := range b.sent {
		if len(s.Body) > protocol.MaxSignal {
			t.Errorf("a %s of %d bytes", s.Type, len(s.Body))
		}
		if s.Type == kindCandidate {
			candidates++
		}
	}
	if candidates != n {
		t.Errorf("%d signals for %d payloads", candidates, n)
	}
	b.sent = nil
	for range maxPayloads {
		must(t, c.Send([]byte("x")))
		b.net.settle()
	}
	b.net.settle()
	for range maxPayloads + 1 {
		_ = c.Send([]byte("x"))
	}
	if err := c.Send([]byte("x")); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
}

// A peer that sends more than the callbacks take is not kept in memory for ever.
func TestSlowCallback(t *testing.T) {
	b := newBench(t)
	c := calleeActive(b)
	b.payloads = make(map[*Call][]string)
	for i := range 2 * maxEvents {
		body, err := proto.Marshal(&pb.CallSignal{Call: c.ID(), First: uint64(i), Payloads: [][]byte{[]byte("x")}})
		must(t, err)
		b.calls.Handle(godwit.Signal{Conversation: "d:alice:bob", User: "bob", Device: "phone", Type: kindCandidate, Body: body})
	}
	b.calls.deliver()
	if got := len(b.payloads[c]); got != maxEvents {
		t.Errorf("%d payloads waited", got)
	}
}
