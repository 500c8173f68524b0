package chat

import (
	"strings"
	"sync"
)

// proposalOverhead is what a waiting proposal counts for on top of its body, in
// bytes: the struct, its strings, and what the sink needs for the answer.
const proposalOverhead = 512

func (p *Proposal) size() int { return proposalOverhead + max(p.InFlight, len(p.Command.Body)) }

// queue holds one partition's proposals on their way to its writer. Submitters
// put in, the warmers move on, the writer takes out.
//
// Invariant: a conversation is in parked from the moment its first cold
// proposal comes in until all of its proposals move to ready at once. So its
// proposals reach ready in the order in which they came.
type queue struct {
	partition   int
	maxCommands int
	maxBytes    int
	cold        *coldList
	bell        chan<- struct{} // the writer's; has room for one ring

	mu       sync.Mutex // guards what follows
	ready    []*Proposal
	parked   map[string][]*Proposal // by conversation
	warm     recent
	commands int // in ready and parked
	bytes    int
	pending  int  // taken on and not settled: these, and those that were taken out since
	closed   bool // only the log's own follow-ups come in
	over     bool // nothing does

	settled chan struct{} // closed when the queue is closed and nothing pending
}

func newQueue(partition, maxCommands, maxBytes int, cold *coldList, bell chan<- struct{}) *queue {
	return &queue{
		partition: partition, maxCommands: maxCommands, maxBytes: maxBytes, cold: cold, bell: bell,
		parked: make(map[string][]*Proposal),
		warm:   recent{size: recentSize},

		settled: make(chan struct{}),
	}
}

// ring wakes the writer. It never blocks: a ring that is already there will do.
func (q *queue) ring() {
	select {
	case q.bell <- struct{}{}:
	default:
	}
}

// accept takes p on or refuses it with errBusy or errDraining.
func (q *queue) accept(p *Proposal) error {
	parked, err := q.put(p)
	switch {
	case err != nil:
		return err
	case parked:
		q.cold.add(coldJob{queue: q, first: p})
	default:
		q.ring()
	}
	return nil
}

// put files p. It reports whether p is the first of a cold conversation, which
// must then be warmed.
func (q *queue) put(p *Proposal) (first bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := p.size()
	switch {
	case q.over, q.closed && !p.Command.Op.followsUp():
		return false, errDraining
	case q.commands >= q.maxCommands, q.commands > 0 && q.bytes+size > q.maxBytes:
		return false, errBusy
	}
	q.commands++
	q.pending++
	q.bytes += size

	conversation := p.Command.Conversation
	waiting, cold := q.parked[conversation]
	if !cold && q.warm.touch(conversation) {
		q.ready = append(q.ready, p)
		return false, nil
	}
	q.parked[conversation] = append(waiting, p)
	return !cold, nil
}

// release moves a conversation that has been warmed on to the writer.
func (q *queue) release(conversation string) {
	q.mu.Lock()
	q.ready = append(q.ready, q.parked[conversation]...)
	delete(q.parked, conversation)
	q.warm.add(conversation)
	q.mu.Unlock()
	q.ring()
}

// take appends up to commands proposals of up to bytes in all to dst, one at
// least if there is any.
func (q *queue) take(dst []*Proposal, commands, bytes int) (_ []*Proposal, taken int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.ready) && n < commands {
		size := q.ready[n].size()
		if n > 0 && taken+size > bytes {
			break
		}
		taken += size
		n++
	}
	dst = append(dst, q.ready[:n]...)
	kept := copy(q.ready, q.ready[n:])
	clear(q.ready[kept:])
	q.ready = q.ready[:kept]
	q.commands -= n
	q.bytes -= taken
	return dst, taken
}

// done is told that n proposals that were taken out are settled.
func (q *queue) done(n int) {
	q.mu.Lock()
	q.pending -= n
	q.settle()
	q.mu.Unlock()
}

// close refuses everything but follow-ups from now on. What is there stays to be
// taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.settle()
	q.mu.Unlock()
}

// settle closes settled if that is due. Called with mu held.
func (q *queue) settle() {
	if !q.closed || q.pending > 0 {
		return
	}
	select {
	case <-q.settled: // it was due before, and follow-ups came in since
	default:
		close(q.settled)
	}
}

// end refuses everything from now on.
func (q *queue) end() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	q.ring()
}

// ended reports whether nothing comes in any more and nothing is there.
func (q *queue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.over && q.commands == 0
}

// depth is the number of proposals that wait.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.commands
}

// recent remembers the conversations that were touched lately: at least the
// last size of them, at most twice as many. It is a guess at what the store has
// in memory. To be wrong costs a detour by way of a warmer, or a slow read on
// the writer, and never the order.
type recent struct {
	size       int
	young, old map[string]struct{}
}

// recentSize is the size for each partition: at 100 bytes each and the default
// 16 partitions about as much as the store's own cache of heads.
const recentSize = 2048

// touch reports whether conversation is among them, and makes it the latest.
func (r *recent) touch(conversation string) bool {
	if _, ok := r.young[conversation]; ok {
		return true
	}
	if _, ok := r.old[conversation]; ok {
		r.add(conversation)
		return true
	}
	return false
}

func (r *recent) add(conversation string) {
	if r.young == nil || len(r.young) >= r.size {
		r.old, r.young = r.young, make(map[string]struct{})
	}
	r.young[strings.Clone(conversation)] = struct{}{} // it shares memory with the whole request
}

// coldJob asks for the warming of the conversation of first, which is parked in
// queue.
type coldJob struct {
	queue *queue
	first *Proposal
}

// coldList is what waits for the warmers. The queues' bounds bound it too.
type coldList struct {
	mu     sync.Mutex // guards what follows
	more   sync.Cond
	jobs   []coldJob
	closed bool
}

func newColdList() *coldList {
	l := &coldList{}
	l.more.L = &l.mu
	return l
}

func (l *coldList) add(j coldJob) {
	l.mu.Lock()
	l.jobs = append(l.jobs, j)
	l.mu.Unlock()
	l.more.Signal()
}

// next waits for a job; false once the list is closed.
func (l *coldList) next() (coldJob, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.jobs) == 0 && !l.closed {
		l.more.Wait()
	}
	if l.closed {
		return coldJob{}, false
	}
	j := l.jobs[0]
	l.jobs[0] = coldJob{}
	l.jobs = l.jobs[1:]
	return j, true
}

// serve warms conversations until the list is closed.
func (l *coldList) serve(warm func(*Command)) {
	for {
		j, ok := l.next()
		if !ok {
			return
		}
		// Parked, the command is ours to read; released, it is the writer's.
		conversation := j.first.Command.Conversation
		warm(&j.first.Command)
		j.queue.release(conversation)
	}
}

func (l *coldList) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.more.Broadcast()
}
