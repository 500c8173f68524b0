package godwit

import (
	"slices"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
)

// TestChangesOutliveTheProcess ends a client that has learned of changes which
// its handler was not given: the next one gives them, and only those.
func TestChangesOutliveTheProcess(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	for seq := range uint64(5) {
		a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: seq + 1, Sender: "bob", Body: []byte("hi")}), viaPush, now)
	}
	a.forget(b, []uint64{4, 5}, 0, 0)
	a.forget(b, nil, 0, 2)
	changes := func(a *account) (all []MessageChange) {
		for _, e := range a.events {
			if e.what == changeEvent {
				all = append(all, *e.change)
			}
		}
		return all
	}
	a.told(b, &changes(a)[0])

	again, _ := newTestSession(&Snapshot{User: "alice", States: []StateRecord{b.record()}}, 1, now)
	same := func(x, y MessageChange) bool {
		return x.Seq == y.Seq && x.Type == y.Type && x.Conversation == y.Conversation
	}
	if got, want := changes(again), changes(a)[1:]; !slices.EqualFunc(got, want, same) {
		t.Fatalf("after a restart the handler is given %+v, want %+v", got, want)
	}
	again.told(again.box(b.id), &changes(again)[0])
	again.told(again.box(b.id), &changes(again)[1])
	last, _ := newTestSession(&Snapshot{User: "alice", States: []StateRecord{again.box(b.id).record()}}, 1, now)
	if got := changes(last); len(got) > 0 {
		t.Errorf("what was given is given again: %+v", got)
	}
}

// TestDeletedOnTheWay deletes a message that is on its way to the handler, as it
// was before, and one that never comes.
func TestDeletedOnTheWay(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.forget(b, []uint64{1, 2}, 0, 0)
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Body: []byte("hi"), Count: 1}), viaPush, now)
	m := a.events[len(a.events)-1].message
	if m.Seq != 1 || m.State != MessageDeleted || len(m.Body) > 0 {
		t.Errorf("the handler is given %+v", m)
	}
	if p := b.view.preview; p == nil || p.State != MessageDeleted || len(p.Body) > 0 {
		t.Errorf("the preview is %+v", p)
	}
	a.skipTo(b, 3)
	if len(b.view.deleted) > 0 {
		t.Errorf("kept for messages that are past: %v", b.view.deleted)
	}
}
