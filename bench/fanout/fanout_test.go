package fanout

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
)

func TestMain(m *testing.M) {
	if Child() {
		return
	}
	os.Exit(m.Run())
}

// A small run, through four processes, delivers everything and reports it.
func TestRun(t *testing.T) {
	r, err := Run(t.Context(), Config{Sessions: 200, Users: 4, Bursts: []int{1, 3}, For: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 3} {
		b := r.Bursts[i]
		if b.Messages != want || b.Rounds < 1 || b.Bare.PerSecond <= 0 || b.Godwit.PerSecond <= 0 || b.Ratio <= 0 {
			t.Errorf("burst of %d: %+v", want, b)
		}
	}
	var table strings.Builder
	r.WriteTable(&table)
	if !strings.Contains(table.String(), "200 sessions of 4 users") {
		t.Errorf("table:\n%s", &table)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{Sessions: 20_000},
		{Sessions: 10, Users: 3},
		{Bursts: []int{0}},
		{Bursts: []int{1000}},
		{Size: 1 << 20},
	} {
		if _, err := Run(t.Context(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// What a receiver must not take for a delivery.
func TestReceiverChecks(t *testing.T) {
	frames := func(from uint64, n int) []byte {
		l := &log{seq: from - 1, body: make([]byte, 16)}
		var b []byte
		for range n {
			_, f := l.next()
			b = append(b, f...)
		}
		return b
	}
	newReceiver := func() *receiver {
		r := &receiver{size: 16, over: make(chan struct{}, 1)}
		r.left.Store(1 << 40)
		return r
	}
	for name, arrived := range map[string][]byte{
		"missing":   append(frames(1, 1), frames(3, 1)...),
		"doubled":   append(frames(1, 2), frames(2, 1)...),
		"order":     append(frames(2, 1), frames(1, 1)...),
		"truncated": protocol.AppendFrame(nil, protocol.TypeMessage, 0, []byte{0x10, 1}),
		"unasked":   protocol.AppendHeader(nil, protocol.TypePing, 0, 0),
	} {
		if err := newReceiver().take(&peer{}, arrived); err == nil {
			t.Errorf("%s: nothing was noticed", name)
		}
	}
	// Cut at every place, the same bytes are the same messages.
	whole := frames(1, 5)
	for cut := range whole {
		r, p := newReceiver(), &peer{}
		r.left.Store(5)
		for _, part := range [][]byte{whole[:cut], whole[cut:]} {
			if err := r.take(p, part); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		if p.seq != 5 || r.left.Load() != 0 || p.partial != nil {
			t.Fatalf("cut at %d: seq %d, %d left", cut, p.seq, r.left.Load())
		}
	}
}
