package chat

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come. It is never waited out by
// a test that passes.
const patience = 2 * time.Minute

var discard = slog.New(slog.DiscardHandler)

// storeOptions are those of a small store in memory.
func storeOptions(fs vfs.FS) msgstore.Options {
	o := msgstore.DefaultOptions()
	o.Dir = "store"
	o.FS = fs
	o.Partitions = 4
	o.CacheBytes = 1 << 20
	o.MemTableBytes = 1 << 20
	o.MinFree = 0
	o.Logger = discard
	o.Fatal = func(err error) { panic(err) }
	return o
}

func openStore(t testing.TB, o msgstore.Options) *msgstore.Store {
	t.Helper()
	s, err := msgstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func testConfig(t testing.TB) Config {
	c := DefaultConfig()
	c.Writers = 2
	c.Logger = discard
	c.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	return c
}

// startLog starts a log that is closed, and must have drained, when the test
// ends.
func startLog(t testing.TB, cfg Config, store *msgstore.Store, sink Sink, change ...func(*steps)) *Embedded {
	t.Helper()
	s := defaultSteps(store)
	for _, f := range change {
		f(&s)
	}
	e, err := newEmbedded(cfg, store, sink, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog(t, e) })
	return e
}

func closeLog(t testing.TB, e *Embedded) {
	t.Helper()
	// Not t.Context(), which has ended by the time of the clean-up.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Errorf("close the log: %v", err)
	}
}

// sinkFunc is a Sink.
type sinkFunc func([]Outcome)

func (f sinkFunc) Deliver(outcomes []Outcome) { f(outcomes) }

// collector is a Sink that keeps what it is told.
type collector struct {
	mu       sync.Mutex // guards outcomes
	more     sync.Cond
	outcomes []Outcome
}

func newCollector() *collector {
	c := &collector{}
	c.more.L = &c.mu
	return c
}

func (c *collector) Deliver(outcomes []Outcome) {
	c.mu.Lock()
	for _, o := range outcomes {
		o.Effects = append([]Effect(nil), o.Effects...)
		c.outcomes = append(c.outcomes, o)
	}
	c.mu.Unlock()
	c.more.Broadcast()
}

// wait returns the outcomes once there are n of them.
func (c *collector) wait(t testing.TB, n int) []Outcome {
	t.Helper()
	timer := time.AfterFunc(patience, c.more.Broadcast)
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.outcomes) < n {
		if !time.Now().Before(deadline) {
			t.Fatalf("%d outcomes of %d after %v", len(c.outcomes), n, patience)
		}
		c.more.Wait()
	}
	return append([]Outcome(nil), c.outcomes...)
}

func send(user, conversation, clientID, body string) *Proposal {
	return &Proposal{Command: Command{
		Op: OpSend, Conversation: conversation, User: user,
		ClientID: clientID, Kind: pb.Kind_KIND_TEXT, Body: []byte(body),
	}}
}

func mark(user, conversation string, read, delivered uint64) *Proposal {
	return &Proposal{Command: Command{
		Op: OpMark, Conversation: conversation, User: user, ReadSeq: read, DeliveredSeq: delivered,
	}}
}

// diskFS is a file system whose syncs can be held up or left out.
type diskFS struct {
	vfs.FS
	noSync atomic.Bool // pretend to sync
	sync   sync.RWMutex
}

// stall makes every sync from now on wait until the returned function is
// called.
func (d *diskFS) stall() (release func()) {
	d.sync.Lock()
	return sync.OnceFunc(d.sync.Unlock)
}

func (d *diskFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.FS.Create(name, c))
}

func (d *diskFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.wrap(d.FS.OpenReadWrite(name, c, o...))
}

func (d *diskFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.FS.ReuseForWrite(oldname, newname, c))
}

func (d *diskFS) Unwrap() vfs.FS { return d.FS }

func (d *diskFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d}, nil
}

type diskFile struct {
	vfs.File
	disk *diskFS
}

func (f *diskFile) Sync() error     { return f.disk.synced(f.File.Sync) }
func (f *diskFile) SyncData() error { return f.disk.synced(f.File.SyncData) }

func (f *diskFile) SyncTo(length int64) (full bool, err error) {
	err = f.disk.synced(func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (d *diskFS) synced(sync func() error) error {
	d.sync.RLock()
	defer d.sync.RUnlock()
	if d.noSync.Load() {
		return nil
	}
	return sync()
}

// clock is a clock that a test moves.
type clock struct{ ns atomic.Int64 }

func newClock(start time.Time) *clock {
	c := &clock{}
	c.set(start)
	return c
}

func (c *clock) now() time.Time      { return time.Unix(0, c.ns.Load()) }
func (c *clock) set(t time.Time)     { c.ns.Store(t.UnixNano()) }
func (c *clock) add(d time.Duration) { c.ns.Add(int64(d)) }

// eventually waits for what there is no event for.
func eventually(t testing.TB, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come true within %v", patience)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // a poll with a deadline
	}
}
