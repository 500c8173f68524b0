package godwit

import (
	"fmt"
	"time"
)

// Positions are saved together, to spare the disk: after maxUnsaved messages
// or saveDelay, whichever comes first, and along with anything that cannot
// wait. After a crash of the process, messages that were handed to the
// application since the last save are handed again: at most maxUnsaved. The
// handler waits for the store rather than go beyond.
const (
	maxUnsaved = 128
	saveDelay  = 100 * time.Millisecond
)

// changes is what the store does not have yet.
type changes struct {
	user   bool
	cursor bool
	boxes  map[*box]struct{} // whose position changed
	put    []*Outgoing       // these wait for it: Send returns after it
	remove []uint64
	handed int       // how many messages were handed on meanwhile
	since  time.Time // when the first of boxes or remove came
}

func (d *changes) empty() bool {
	return !d.user && !d.cursor && len(d.boxes) == 0 && len(d.put) == 0 && len(d.remove) == 0
}

// urgent reports whether the changes cannot wait for more.
func (d *changes) urgent() bool {
	return d.user || d.cursor || len(d.put) > 0 || d.handed >= maxUnsaved/2
}

// touch notes that the box's position has changed.
func (a *account) touch(b *box) {
	if a.dirty.boxes == nil {
		a.dirty.boxes = make(map[*box]struct{})
	}
	a.dirty.boxes[b] = struct{}{}
	a.wakeSaver()
}

// removeFromStore notes that an outbox entry is done with.
func (a *account) removeFromStore(order uint64) {
	a.dirty.remove = append(a.dirty.remove, order)
	a.wakeSaver()
}

func (a *account) wakeSaver() {
	if a.dirty.since.IsZero() {
		a.dirty.since = time.Now()
		a.saverBell.ring()
	}
}

// countHanded notes that a message was handed on.
func (a *account) countHanded() {
	a.unsaved++
	a.dirty.handed++
	if a.dirty.handed == maxUnsaved/2 {
		a.saverBell.ring()
	}
}

// batch turns the changes into what a store takes, and leaves none behind.
func (a *account) batch() (*Batch, changes) {
	d := a.dirty
	a.dirty, a.storing = changes{}, d.put
	b := &Batch{Remove: d.remove}
	if d.user {
		b.User = a.user
	}
	if d.cursor {
		cursor := a.cursor
		b.Cursor = &cursor
	}
	for box := range d.boxes {
		if box.started {
			b.Positions = append(b.Positions, box.position())
			b.States = append(b.States, box.record())
		}
	}
	for _, o := range d.put {
		b.Put = append(b.Put, o.entry)
	}
	return b, d
}

// save writes what changes to the store until the client ends, and once more
// then. One goroutine runs it.
func (c *Client) save(lastSave <-chan struct{}) {
	delay := time.NewTimer(time.Hour)
	defer delay.Stop()
	for ending := false; ; {
		c.mu.Lock()
		a := &c.account
		wait := time.Duration(0)
		if d := &a.dirty; !ending && !d.urgent() {
			wait = time.Hour
			if !d.since.IsZero() {
				wait = time.Until(d.since.Add(saveDelay))
			}
		}
		if wait > 0 {
			c.mu.Unlock()
			delay.Reset(wait)
			select {
			case <-a.saverBell:
			case <-delay.C:
			case <-lastSave:
				ending = true
			}
			continue
		}
		batch, done := a.batch()
		c.mu.Unlock()

		if !done.empty() {
			if err := c.opts.Store.Save(batch); err != nil {
				c.saved(done, fmt.Errorf("%w: %w", ErrStore, err))
				return
			}
			c.saved(done, nil)
		}
		if ending {
			return
		}
	}
}

// saved tells those who wait for the store.
func (c *Client) saved(done changes, err error) {
	if err != nil {
		c.failNow(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account.unsaved -= done.handed
	c.account.storing = nil
	for _, o := range done.put {
		c.account.stored(o)
	}
	close(c.savedBell)
	c.savedBell = make(chan struct{})
}

// awaitSave keeps the handler from running ahead of the store.
func (c *Client) awaitSave() {
	for {
		c.mu.Lock()
		saved, ahead := c.savedBell, c.account.unsaved >= maxUnsaved
		c.mu.Unlock()
		if !ahead {
			return
		}
		select {
		case <-saved:
		case <-c.closing:
			return
		}
	}
}
