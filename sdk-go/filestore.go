package godwit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// FileStore is a Store in a file: a bbolt database, which is synced to the
// disk at the end of every Save. Its buckets:
//
//	meta      "format" → u16, "user", "cursor" → epoch u64 ++ cursor
//	position  conversation → eight u64, as in positionFields
//	state     conversation → StateRecord.Data
//	outbox    order u64 → time in Unix nanoseconds u64 ++ pb.Send
//
// All integers are big-endian.
type FileStore struct{ db *bbolt.DB }

// fileFormat is the version of the layout above.
const fileFormat = 1

var (
	metaBucket     = []byte("meta")
	positionBucket = []byte("position")
	stateBucket    = []byte("state")
	outboxBucket   = []byte("outbox")

	formatKey = []byte("format")
	userKey   = []byte("user")
	cursorKey = []byte("cursor")
)

// OpenFileStore opens the store in the file at path, or makes it, readable to
// the user alone. A file is open in one process at a time: OpenFileStore waits
// a second for the other to close it, and fails.
func OpenFileStore(path string) (*FileStore, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      time.Second,
		FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		err = errors.New("it is in use by another process")
	}
	if err == nil {
		if err = db.Update(initFile); err != nil {
			db.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrStore, path, err)
	}
	return &FileStore{db: db}, nil
}

func initFile(tx *bbolt.Tx) error {
	for _, name := range [][]byte{metaBucket, positionBucket, stateBucket, outboxBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	switch v := meta.Get(formatKey); {
	case v == nil:
		return meta.Put(formatKey, binary.BigEndian.AppendUint16(nil, fileFormat))
	case len(v) != 2 || binary.BigEndian.Uint16(v) != fileFormat:
		return fmt.Errorf("format %x, this version reads %d", v, fileFormat)
	}
	return nil
}

// Close closes the file. Close the client first.
func (s *FileStore) Close() error { return s.db.Close() }

// Load implements Store.
func (s *FileStore) Load() (*Snapshot, error) {
	snap := new(Snapshot)
	err := s.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		snap.User = string(meta.Get(userKey))
		if v := meta.Get(cursorKey); v != nil {
			if len(v) < 8 {
				return errDamaged(cursorKey)
			}
			snap.Cursor.Epoch = binary.BigEndian.Uint64(v)
			snap.Cursor.Sync = append([]byte(nil), v[8:]...)
		}
		err := tx.Bucket(positionBucket).ForEach(func(k, v []byte) error {
			p, err := decodePosition(k, v)
			snap.Positions = append(snap.Positions, p)
			return err
		})
		if err != nil {
			return err
		}
		err = tx.Bucket(stateBucket).ForEach(func(k, v []byte) error {
			snap.States = append(snap.States, StateRecord{string(k), append([]byte(nil), v...)})
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(outboxBucket).ForEach(func(k, v []byte) error {
			e, err := decodeEntry(k, v)
			snap.Outbox = append(snap.Outbox, e)
			return err
		})
	})
	return snap, err
}

// Save implements Store.
func (s *FileStore) Save(b *Batch) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		meta, positions, outbox := tx.Bucket(metaBucket), tx.Bucket(positionBucket), tx.Bucket(outboxBucket)
		if b.User != "" {
			if err := meta.Put(userKey, []byte(b.User)); err != nil {
				return err
			}
		}
		if b.Cursor != nil {
			v := binary.BigEndian.AppendUint64(nil, b.Cursor.Epoch)
			if err := meta.Put(cursorKey, append(v, b.Cursor.Sync...)); err != nil {
				return err
			}
		}
		for i := range b.Positions {
			p := &b.Positions[i]
			if err := positions.Put([]byte(p.Conversation), encodePosition(p)); err != nil {
				return err
			}
		}
		states := tx.Bucket(stateBucket)
		for _, r := range b.States {
			if err := states.Put([]byte(r.Conversation), r.Data); err != nil {
				return err
			}
		}
		for i := range b.Put {
			v, err := encodeEntry(&b.Put[i])
			if err != nil {
				return err
			}
			if err := outbox.Put(orderKey(b.Put[i].Order), v); err != nil {
				return err
			}
		}
		for _, order := range b.Remove {
			if err := outbox.Delete(orderKey(order)); err != nil {
				return err
			}
		}
		return nil
	})
}

func orderKey(order uint64) []byte { return binary.BigEndian.AppendUint64(nil, order) }

// positionFields are the numbers of a Position in their order in the file.
func positionFields(p *Position) [8]*uint64 {
	return [8]*uint64{
		&p.Epoch, &p.Seq, &p.ID, &p.HeadSeq,
		&p.OwedReadSeq, &p.OwedDeliveredSeq, &p.PeerReadSeq, &p.PeerDeliveredSeq,
	}
}

func encodePosition(p *Position) []byte {
	v := make([]byte, 0, 64)
	for _, field := range positionFields(p) {
		v = binary.BigEndian.AppendUint64(v, *field)
	}
	return v
}

func decodePosition(k, v []byte) (Position, error) {
	p := Position{Conversation: string(k)}
	fields := positionFields(&p)
	if len(v) != 8*len(fields) {
		return p, errDamaged(k)
	}
	for i, field := range fields {
		*field = binary.BigEndian.Uint64(v[8*i:])
	}
	return p, nil
}

func encodeEntry(e *Entry) ([]byte, error) {
	v := binary.BigEndian.AppendUint64(nil, uint64(e.Time.UnixNano()))
	return proto.MarshalOptions{}.MarshalAppend(v, e.send())
}

func decodeEntry(k, v []byte) (Entry, error) {
	if len(k) != 8 || len(v) < 8 {
		return Entry{}, errDamaged(k)
	}
	send := new(pb.Send)
	if err := proto.Unmarshal(v[8:], send); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", errDamaged(k), err)
	}
	return Entry{
		Order:        binary.BigEndian.Uint64(k),
		Time:         time.Unix(0, int64(binary.BigEndian.Uint64(v))),
		Conversation: send.Conversation, ClientID: send.ClientId,
		Draft: draftFromWire(send),
	}, nil
}

func errDamaged(key []byte) error { return fmt.Errorf("damaged value of key %q", key) }
