package chat

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// A command's follow-ups are notices for conversations in other partitions, where
// it can't write. Its own partition keeps them, from the same commit on, until
// they are where they belong. The relay brings them there:
//
//	command  ──commit──► a row in the outbox of its partition, EffectFollowUp
//	OpNotify ──commit──► the notice in the system conversation
//	OpForget ──commit──► no row
//
// A crash between two of these leaves the row, and the next start goes on from
// it. So a notice is submitted at least once, and is there once, because its
// client message id names the row. What the relay has in memory is only a part
// of what the rows say: a follow-up for which it has no room it leaves on disk,
// and reads the rows again when there is some.

const (
	// relayRoom is how many follow-ups the relay has in memory. Each waits in
	// some queue, so it is small beside what a queue holds; and a notice may be
	// a dozen KiB.
	relayRoom = 1024
	// relayRetry is how long those wait that a full queue has refused.
	relayRetry = 50 * time.Millisecond
)

// followUpID names a follow-up: which of the notices of the command at index in
// a partition.
type followUpID struct {
	partition int
	index     uint64
	n         int
}

// clientID is the client message id of the notice.
func (id followUpID) clientID() string {
	return fmt.Sprintf("f%d.%d.%d", id.partition, id.index, id.n)
}

// errand is a follow-up that the relay knows.
type errand struct {
	id           followUpID
	source       string
	conversation string
	notice       *pb.Notice // nil once it is there
}

// relay carries out the follow-ups of an Embedded.
type relay struct {
	log  *Embedded
	bell chan struct{} // has room for one ring
	stop chan struct{} // closed when it is to end
	idle chan struct{} // closed when it was told to finish and has

	mu        sync.Mutex              // guards what follows
	known     map[followUpID]struct{} // taken on and not forgotten yet; at most relayRoom
	todo      []errand                // of known, those whose next step is to be submitted
	behind    []bool                  // by partition: there may be rows that are not known
	finishing bool
}

// newRelay returns a relay that has all that is in the store to do.
func newRelay(e *Embedded) *relay {
	r := &relay{
		log:    e,
		bell:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		idle:   make(chan struct{}),
		known:  make(map[followUpID]struct{}),
		behind: make([]bool, e.store.Partitions()),
	}
	for p := range r.behind {
		r.behind[p] = true
	}
	return r
}

func (r *relay) ring() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

// take takes on the follow-ups among effects, which are committed. Writers call
// it; it does not block.
func (r *relay) take(effects []Effect) {
	taken := false
	for i := range effects {
		if e := &effects[i]; e.Kind == EffectFollowUp {
			id := followUpID{r.log.store.PartitionOf(e.Source), e.Index, e.FollowUp}
			r.know(errand{id, e.Source, e.Conversation, e.Notice})
			taken = true
		}
	}
	if taken {
		r.ring()
	}
}

// know takes w on, unless it is known. It reports false if there is no room.
func (r *relay) know(w errand) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.known[w.id]; known {
		return true
	}
	if len(r.known) == relayRoom {
		r.behind[w.id.partition] = true
		return false
	}
	r.known[w.id] = struct{}{}
	r.todo = append(r.todo, w)
	return true
}

// run carries out follow-ups until stop is closed or the log fails.
func (r *relay) run() {
	var refused []errand
	timer := time.NewTimer(relayRetry)
	defer timer.Stop()
	for {
		if len(refused) == 0 {
			timer.Stop()
		}
		select {
		case <-r.bell:
		case <-timer.C:
			r.again(refused)
			refused = refused[:0]
		case <-r.stop:
			return
		case <-r.log.failing:
			return
		}
		r.readRows()
		before := len(refused)
		refused = r.submit(refused)
		if before == 0 && len(refused) > 0 {
			timer.Reset(relayRetry)
		}
	}
}

// again puts what was refused back on the list.
func (r *relay) again(refused []errand) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.todo = append(r.todo, refused...)
}

// submit submits the next step of all that is to do. It appends to refused what
// a full queue has not taken.
func (r *relay) submit(refused []errand) []errand {
	r.mu.Lock()
	todo := r.todo
	r.todo = nil
	r.mu.Unlock()
	for _, w := range todo {
		// A log that takes nothing on any more has failed: run ends by itself.
		if err := r.log.Submit(r.step(w)); protocol.CodeOf(err) == pb.Code_CODE_BUSY {
			refused = append(refused, w)
		}
	}
	return refused
}

// step is what is to be done next about w.
func (r *relay) step(w errand) *Proposal {
	if w.notice == nil {
		return &Proposal{
			Command: Command{
				Op: OpForget, Conversation: w.source, Index: w.id.index, FollowUp: w.id.n,
			},
			Accepted: r.log.cfg.Now(),
			settled:  func(Result) { r.forgotten(w) },
		}
	}
	return &Proposal{
		Command: Command{
			Op: OpNotify, Conversation: w.conversation, ClientID: w.id.clientID(), Notice: w.notice,
		},
		InFlight: proto.Size(w.notice),
		Accepted: r.log.cfg.Now(),
		settled:  func(result Result) { r.notified(w, result) },
	}
}

// notified is called by a writer when w's notice is on disk.
func (r *relay) notified(w errand, result Result) {
	if result.Err != nil { // a defect, which to try again would not mend
		r.log.cfg.Logger.Error("a notice was refused", "conv", w.conversation, "err", result.Err)
	}
	w.notice = nil
	r.mu.Lock()
	r.todo = append(r.todo, w)
	r.mu.Unlock()
	r.ring()
}

// forgotten is called by a writer when w's row is gone.
func (r *relay) forgotten(w errand) {
	r.mu.Lock()
	delete(r.known, w.id)
	r.rest()
	r.mu.Unlock()
	r.ring()
}

// errNoRoom ends the reading of rows.
var errNoRoom = errors.New("chat: no room for more follow-ups")

// readRows takes on follow-ups from the rows of the partitions where some may
// not be known, if there is room for a good many.
func (r *relay) readRows() {
	for p := range r.behind {
		r.mu.Lock()
		wanted := r.behind[p] && len(r.known) <= relayRoom/2
		if wanted {
			// Before the rows are read: one that is committed from now on may not be
			// among them.
			r.behind[p] = false
		}
		r.mu.Unlock()
		if !wanted {
			continue
		}
		err := r.log.store.FollowUps(p, func(source string, index uint64, n int, conversation string, wire []byte) error {
			notice := &pb.Notice{}
			if err := proto.Unmarshal(wire, notice); err != nil {
				// A defect. The row stays; those behind it must not wait for it.
				r.log.cfg.Logger.Error("a follow-up can't be decoded", "conv", source, "index", index, "err", err)
				return nil
			}
			if !r.know(errand{followUpID{p, index, n}, source, conversation, notice}) {
				return errNoRoom
			}
			return nil
		})
		if err != nil && !errors.Is(err, errNoRoom) {
			r.log.cfg.Logger.Error("follow-ups can't be read; the next start tries again", "partition", p, "err", err)
		}
	}
	r.mu.Lock()
	r.rest()
	r.mu.Unlock()
}

// finish makes idle close once nothing is left to do. No command may have
// follow-ups any more.
func (r *relay) finish() {
	r.mu.Lock()
	r.finishing = true
	r.rest()
	r.mu.Unlock()
}

// rest closes idle if that is due. Called with mu held.
func (r *relay) rest() {
	if !r.finishing || len(r.known) > 0 {
		return
	}
	for _, behind := range r.behind {
		if behind {
			return
		}
	}
	r.finishing = false // once
	close(r.idle)
}
