package godwit

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Store keeps what a client must not forget: the messages that wait for their
// ack, and how far each conversation was handed to the application. It belongs
// to one user, and to one client at a time. Load is called once, by Dial;
// after it, Save is called by one goroutine. The client does not close it.
//
// NewMemoryStore and OpenFileStore are the two that come with the package.
type Store interface {
	// Load returns what was saved; an empty Snapshot if nothing was. The
	// caller may keep and change it.
	Load() (*Snapshot, error)
	// Save writes all of b or nothing, in the order of its fields, and
	// returns once it would survive a crash. It keeps nothing of b.
	Save(b *Batch) error
}

// Snapshot is the whole content of a Store.
type Snapshot struct {
	User      string // whose store this is; empty if nobody's yet
	Cursor    Cursor
	Positions []Position // one for each conversation, in any order
	// States is what the local model knows of each conversation. Where a position
	// has none, as in a file of an older version, the client asks the server for all
	// of them.
	States []StateRecord
	Outbox []Entry // by Order
}

// Batch is a set of changes to a Store.
type Batch struct {
	User      string        // to be set, unless empty
	Cursor    *Cursor       // to be set, unless nil
	Positions []Position    // to be put, by Conversation
	States    []StateRecord // likewise
	Put       []Entry       // to be put into the outbox, by Order
	Remove    []uint64      // to be removed from the outbox, by Order; may be absent
}

// Cursor is where the next SYNC starts.
type Cursor struct {
	Epoch uint64 // of the server's store that gave it
	Sync  []byte // opaque; empty = from the beginning
}

// Position is how far a conversation was handed to the application.
type Position struct {
	Conversation string
	Epoch        uint64 // of the server's store that Seq and ID were learned from
	Seq          uint64 // of the last message handed; 0 if none was
	ID           uint64 // its message id; 0 if it is not known
	HeadSeq      uint64 // of the newest message that is known to exist
	// The user's cursors that the server was not told of yet; 0 if it was.
	OwedReadSeq      uint64
	OwedDeliveredSeq uint64
	// The peer's cursors.
	PeerReadSeq      uint64
	PeerDeliveredSeq uint64
}

// StateRecord is what the local model knows of a conversation. The Data is the
// client's own.
type StateRecord struct {
	Conversation string
	Data         []byte
}

// Entry is a message in the outbox.
type Entry struct {
	Order        uint64 // rises with every message sent from this store
	ClientID     string
	Conversation string
	Draft                  // what is sent
	Time         time.Time // when it was sent, by the client's clock
}

// MemoryStore is a Store that lasts as long as the process. A client may be
// dialled with the store of one that was closed and goes on where that one
// stopped.
type MemoryStore struct {
	mu        sync.Mutex // guards everything below
	user      string
	cursor    Cursor
	positions map[string]Position
	states    map[string][]byte
	outbox    map[uint64]Entry
}

// NewMemoryStore returns an empty MemoryStore.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{
		positions: make(map[string]Position), states: make(map[string][]byte), outbox: make(map[uint64]Entry),
	}
}

// Load implements Store.
func (s *MemoryStore) Load() (*Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := &Snapshot{
		User:      s.user,
		Cursor:    Cursor{Epoch: s.cursor.Epoch, Sync: slices.Clone(s.cursor.Sync)},
		Positions: slices.Collect(maps.Values(s.positions)),
	}
	for conversation, data := range s.states {
		snap.States = append(snap.States, StateRecord{conversation, slices.Clone(data)})
	}
	for _, order := range slices.Sorted(maps.Keys(s.outbox)) {
		e := s.outbox[order]
		e.Draft = e.Draft.clone()
		snap.Outbox = append(snap.Outbox, e)
	}
	return snap, nil
}

// Save implements Store.
func (s *MemoryStore) Save(b *Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.User != "" {
		s.user = b.User
	}
	if b.Cursor != nil {
		s.cursor = Cursor{Epoch: b.Cursor.Epoch, Sync: slices.Clone(b.Cursor.Sync)}
	}
	for _, p := range b.Positions {
		s.positions[p.Conversation] = p
	}
	for _, r := range b.States {
		s.states[r.Conversation] = slices.Clone(r.Data)
	}
	for _, e := range b.Put {
		e.Draft = e.Draft.clone()
		s.outbox[e.Order] = e
	}
	for _, order := range b.Remove {
		delete(s.outbox, order)
	}
	return nil
}
